"""The numbers of ordered lists in HTML, as browsers show them."""

from __future__ import annotations

from selectolax.lexbor import LexborNode

from service.search.parse.numerals import format_number

MAX_DIGITS = 9  # of a number that a page gives
_KINDS = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


class OrderedLists:
    """Counts the items of the lists that are open. A list is known by its node."""

    def __init__(self) -> None:
        self._open: list[tuple[str, int, int]] = []  # the format, the next number, and the step

    def enter(self, node: LexborNode) -> None:
        """Opens a list, which may name its format, its first number, and whether it counts down."""
        attributes = node.attributes
        step = -1 if "reversed" in attributes else 1
        start = _integer(attributes.get("start"))
        if start is None:
            start = sum(1 for each in node.iter() if each.tag == "li") if step < 0 else 1
        self._open.append((_KINDS.get(attributes.get("type") or "", "decimal"), start, step))

    def leave(self) -> None:
        self._open.pop()

    def label(self, item: LexborNode) -> str:
        """Returns the number of an item and the space after it; an empty text if its list is not ordered."""
        parent = item.parent
        if parent is None or parent.tag != "ol" or not self._open:
            return ""
        kind, number, step = self._open[-1]
        own = _integer(item.attributes.get("value"))
        number = number if own is None else own
        self._open[-1] = kind, number + step, step
        return f"{format_number(kind, number)}. "


def _integer(text: str | None) -> int | None:
    digits = (text or "").strip()
    is_number = digits.removeprefix("-").isdecimal() and digits.isascii() and len(digits) <= MAX_DIGITS
    return int(digits) if is_number else None
