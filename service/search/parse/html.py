"""HTML: the text that a reader of the page sees, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from selectolax.lexbor import LexborHTMLParser, LexborNode

from service.search.parse.text import detect_encoding
from service.search.parse.types import TextPiece, UnreadableFile

# Bytes of a page. A longer page is the output of a program, and its tree would take ten times as much memory.
MAX_HTML = 64 * 1024 * 1024
HIDDEN_TAGS = ["script", "style", "noscript", "template", "svg", "iframe", "object", "head"]
BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "div", "dl", "dt"),
        *("fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr"),
        *("legend", "li", "main", "nav", "ol", "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot"),
        *("thead", "tr", "ul"),
    )
)
CELLS = frozenset(("td", "th"))


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the title, then the text of the body. A block is a line of its own; cells are separated by tabs."""
    encoding = detect_encoding(file)
    file.seek(0)
    data = file.read(MAX_HTML + 1)
    if len(data) > MAX_HTML:
        raise UnreadableFile(f"The page is longer than {MAX_HTML // 1024 // 1024} MiB.")
    tree = LexborHTMLParser(data.decode(encoding, "replace"))
    title = tree.css_first("title")
    if title is not None and (title_text := " ".join(title.text().split())):
        yield title_text + "\n\n", None
    tree.strip_tags(HIDDEN_TAGS)
    if tree.body is not None:
        for line in _lines(tree.body):
            yield line, None


def _lines(body: LexborNode) -> Iterator[str]:
    """Yields the lines of the body in document order, without recursion: pages may nest to any depth."""
    line: list[str] = []
    preformatted = 0  # depth inside <pre>, which keeps its spaces
    for node, entering in _walk(body):
        tag = node.tag
        if tag == "-text":
            if entering:
                text = node.text_content or ""
                line.append(text if preformatted else _collapse_spaces(text))
            continue
        preformatted += (1 if entering else -1) if tag == "pre" else 0
        if tag in CELLS and not entering:
            line.append("\t")
        elif tag in BLOCKS and line:
            if block := "".join(line).strip(" \t" if preformatted else None):
                yield block + "\n"
            line.clear()
    if block := "".join(line).strip():
        yield block + "\n"


def _walk(top: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Walks the tree below `top`: yields (node, True) at the beginning of a node and (node, False) at its end."""
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


def _collapse_spaces(text: str) -> str:
    """Replaces each run of white space by a single space, including runs at the ends."""
    words = " ".join(text.split())
    if not words:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + words + (" " if text[-1].isspace() else "")
