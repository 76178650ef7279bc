"""HTML: what a reader sees, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from selectolax.lexbor import LexborHTMLParser, LexborNode

from service.search.parse.text import encoding_of
from service.search.parse.types import Piece, Unreadable

# A page longer than this is a program's output, not a page; its tree would take ten times as much memory.
MAX_HTML = 64 * 1024 * 1024
UNSEEN = ["script", "style", "noscript", "template", "svg", "iframe", "object", "head"]
BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "div", "dl", "dt"),
        *("fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr"),
        *("legend", "li", "main", "nav", "ol", "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot"),
        *("thead", "tr", "ul"),
    )
)
CELLS = frozenset(("td", "th"))


def parse(file: BinaryIO) -> Iterator[Piece]:
    """The title, then the text of the body; blocks are lines of their own, cells have tabs between."""
    encoding = encoding_of(file)
    file.seek(0)
    data = file.read(MAX_HTML + 1)
    if len(data) > MAX_HTML:
        raise Unreadable(f"The page is longer than {MAX_HTML // 1024 // 1024} MiB.")
    tree = LexborHTMLParser(data.decode(encoding, "replace"))
    title = tree.css_first("title")
    if title is not None and (named := " ".join(title.text().split())):
        yield named + "\n\n", None
    tree.strip_tags(UNSEEN)
    if tree.body is not None:
        for line in _lines(tree.body):
            yield line, None


def _lines(body: LexborNode) -> Iterator[str]:
    """Walks the tree in document order without recursion: pages nest as deeply as they like."""
    line: list[str] = []
    kept = 0  # depth inside <pre>, whose spaces count
    for node, entering in _walk(body):
        tag = node.tag
        if tag == "-text":
            if entering:
                found = node.text_content or ""
                line.append(found if kept else _folded(found))
            continue
        kept += (1 if entering else -1) if tag == "pre" else 0
        if tag in CELLS and not entering:
            line.append("\t")
        elif tag in BLOCKS and line:
            if told := "".join(line).strip(" \t" if kept else None):
                yield told + "\n"
            line.clear()
    if told := "".join(line).strip():
        yield told + "\n"


def _walk(top: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Everything under `top`: (node, True) when it begins, (node, False) when it ends."""
    node, depth = top.child, 1
    while node is not None:
        yield node, True
        if node.child is not None:
            node, depth = node.child, depth + 1
            continue
        yield node, False
        while node.next is None:
            depth -= 1
            if depth == 0 or node.parent is None:
                return
            node = node.parent
            yield node, False
        node = node.next


def _folded(text: str) -> str:
    """Runs of white space as one space, at the ends too."""
    words = " ".join(text.split())
    if not words:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + words + (" " if text[-1].isspace() else "")
