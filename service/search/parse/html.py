"""HTML: the text that a reader of the page sees, block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from selectolax.lexbor import LexborHTMLParser, LexborNode

from service.search.parse.html_lists import OrderedLists
from service.search.parse.text import detect_encoding
from service.search.parse.types import TextPiece, UnreadableFile

# Bytes of a page. A longer page is the output of a program, and its tree would take ten times as much memory.
MAX_HTML = 64 * 1024 * 1024
# Elements whose content browsers do not show; some hold text for browsers that lack a feature.
HIDDEN_TAGS = frozenset(
    (
        *("script", "style", "noscript", "template", "iframe", "object", "head", "rp", "video", "audio", "canvas"),
        *("progress", "meter", "datalist", "noframes", "noembed", "annotation", "annotation-xml"),
    )
)
_HIDDEN_IN_SVG = "svg title, svg desc, svg defs, svg metadata, svg symbol"
_MAYBE_HIDDEN = "[hidden], [style], [popover], dialog:not([open])"
# Declarations of a style attribute that hide an element.
_INVISIBLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))\b", re.IGNORECASE)
# Attributes that name the element that a control of the page shows.
_CONTROLS = ("aria-controls", "popovertarget", "commandfor", "data-target", "data-bs-target", "href")
BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "br", "button", "caption", "center", "dd", "details"),
        *("dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3"),
        *("h4", "h5", "h6", "header", "hgroup", "hr", "listing", "menu", "optgroup", "plaintext", "search", "select"),
        *("textarea", "xmp"),
        *(
            "legend",
            "li",
            "main",
            "nav",
            "ol",
            "option",
            "p",
            "pre",
            "section",
            "summary",
            "table",
            "tbody",
            "text",
            "tfoot",
        ),
        *("thead", "tr", "ul"),
    )
)
CELLS = frozenset(("td", "th"))
PREFORMATTED = frozenset(("pre", "textarea", "listing", "xmp", "plaintext"))
# Marks before the second part, and before the third and further ones, of an element of MathML.
_MATH = {
    "mfrac": ("/", ""),
    "msup": ("^", ""),
    "msub": ("_", ""),
    "msubsup": ("_", "^"),
    "munder": ("_", ""),
    "munderover": ("_", "^"),
    "mtr": (" ", " "),
    "mtable": ("; ", "; "),
}
_AROUND_TABS = re.compile(r" ?\t ?")
# Types of input fields whose value is text that a reader sees.
_VALUE_TYPES = frozenset(
    (
        "text",
        "search",
        "email",
        "url",
        "tel",
        "number",
        "date",
        "time",
        "month",
        "week",
        "datetime-local",
        "button",
        "submit",
    )
)


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the title, then the text of the body. A block is a line of its own; cells are separated by tabs."""
    encoding = detect_encoding(file)
    file.seek(0)
    data = file.read(MAX_HTML + 1)
    if len(data) > MAX_HTML:
        raise UnreadableFile(f"The page is longer than {MAX_HTML // 1024 // 1024} MiB.")
    tree = LexborHTMLParser(data.decode(encoding, "replace"))
    title = tree.head.css_first("title") if tree.head is not None else None
    if title is not None and (title_text := " ".join(title.text().split())):
        yield title_text + "\n\n", None
    if tree.body is not None:
        for line in _lines(tree.body, _hidden_nodes(tree)):
            yield line, None


def _hidden_nodes(tree: LexborHTMLParser) -> set[int]:
    """Returns the ids of the elements that are hidden by an attribute, if no control of the page shows them. Style
    sheets are not applied.
    """
    hidden = {node.mem_id for node in tree.css(_HIDDEN_IN_SVG)}
    maybe = [node for node in tree.css(_MAYBE_HIDDEN) if _is_hidden(node.tag, node.attributes)]
    if maybe:
        controls = tree.css(", ".join(f"[{name}]" for name in _CONTROLS))
        texts = (node.attributes.get(name) or "" for node in controls for name in _CONTROLS)
        shown = {word.removeprefix("#") for text in texts for word in text.split()}
        hidden |= {node.mem_id for node in maybe if (node.attributes.get("id") or "") not in shown - {""}}
    return hidden


def _is_hidden(tag: str | None, attributes: dict[str, str | None]) -> bool:
    if attributes.get("role") == "tabpanel":
        return False
    if "hidden" in attributes:
        return (attributes["hidden"] or "").lower() != "until-found"
    if tag == "dialog" and "open" not in attributes:
        return True
    return "popover" in attributes or _INVISIBLE.search(attributes.get("style") or "") is not None


def _lines(body: LexborNode, hidden: set[int]) -> Iterator[str]:
    """Yields the lines of the body in document order, without recursion: pages may nest to any depth.

    The readings of ruby follow their line, so that the words above which they stand stay whole.
    """
    line: list[str] = []
    readings: list[str] = []
    lists = OrderedLists()
    label = ""  # the number of a list's item that begins the line
    preformatted = is_reading = 0  # depths inside <pre>, which keeps its spaces, and inside <rt>
    for node, entering in _walk(body, hidden):
        tag = node.tag
        if tag == "-text":
            if entering:
                text = node.text_content or ""
                text = text if preformatted else _collapse_spaces(text)
                (readings if is_reading else line).append(text.lstrip(" ") if line == [label] else text)
            continue
        preformatted += (1 if entering else -1) if tag in PREFORMATTED else 0
        is_reading += (1 if entering else -1) if tag == "rt" else 0
        if entering and (tag == "msqrt" or (node.parent is not None and node.parent.tag in _MATH)):
            line.append(_math_mark(node))
        if tag == "tspan" and entering and _begins_line(node):
            line.append(" ")
        if tag == "input" and entering:
            value = _typed_value(node)
            line.append(value.lstrip() if line and line[-1].endswith(" ") else value)
        elif tag == "rt" and not entering:
            readings.append("\n")
        elif tag in CELLS and not entering:
            line.append("\t")
        elif tag in BLOCKS and (line or readings) and not _fills_cell(node) and not (entering and line == [label]):
            text = "".join(line)
            if block := text.strip(" \t") if preformatted else _AROUND_TABS.sub("\t", text.strip()):
                yield block + "\n"
            yield "".join(readings)
            line.clear()
            readings.clear()
        if tag == "ol":
            lists.enter(node) if entering else lists.leave()
        elif tag == "li" and entering and (label := lists.label(node)):
            line.append(label)
    if block := "".join(line).strip():
        yield block + "\n"
    yield "".join(readings)


def _typed_value(field: LexborNode) -> str:
    """Returns the value that an input field of a form shows, or its placeholder, with spaces around it."""
    attributes = field.attributes
    is_shown = (attributes.get("type") or "text").lower() in _VALUE_TYPES
    if is_shown and (value := attributes.get("value") or attributes.get("placeholder")):
        return f" {' '.join(value.split())} "
    return ""


def _math_mark(part: LexborNode) -> str:
    """Returns the mark before an element of MathML."""
    if part.tag == "msqrt":
        return "√"
    marks = _MATH.get(part.parent.tag or "", ("", "")) if part.parent is not None else ("", "")
    number, before = 0, part.prev
    while before is not None and number < 2:
        number += before.tag != "-text"
        before = before.prev
    return marks[number - 1] if number else ""


def _begins_line(span: LexborNode) -> bool:
    """Returns whether a part of an SVG text has a place of its own, so that it is not the rest of the word before."""
    return not span.attributes.keys().isdisjoint(("x", "y", "dy"))


def _fills_cell(node: LexborNode) -> bool:
    """Whether a block is all that a cell of a table holds, so that it does not end the row's line."""
    parent = node.parent
    if node.tag not in ("p", "div") or parent is None or parent.tag not in CELLS:
        return False
    return _is_alone(node.prev, is_before=True) and _is_alone(node.next, is_before=False)


def _is_alone(beside: LexborNode | None, *, is_before: bool) -> bool:
    """Whether the node beside a block is missing, or is white space at the end of the cell."""
    if beside is None:
        return True
    further = beside.prev if is_before else beside.next
    return beside.tag == "-text" and further is None and not (beside.text_content or "").strip()


def _walk(top: LexborNode, hidden: set[int]) -> Iterator[tuple[LexborNode, bool]]:
    """Walks the tree below `top`: yields (node, True) at the beginning of a node and (node, False) at its end. The
    content of hidden nodes is skipped.
    """
    node, depth = top.child, 1
    while node is not None:
        yield node, True
        if node.child is not None and node.tag not in HIDDEN_TAGS and not (hidden and node.mem_id in hidden):
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
