"""Formulas of Office documents (ECMA-376 part 1, 22.1) as lines of text."""

from __future__ import annotations

from service.search.parse.ooxml import Element, attribute, child, name_of

_LEFT_OUT = frozenset(("del", "moveFrom", "rPr", "ctrlPr"))
# Marks that stand before a part of a formula and are not in its text.
_BEFORE = {"den": "/", "sup": "^", "sub": "_", "rad": "√"}
_LIMITS = {"limLow": "_", "limUpp": "^"}
# Marks between the parts of the same name: rows and cells of a matrix, lines of a system of equations.
_BETWEEN = {"m": "; ", "mr": " ", "eqArr": "; "}


def formula_text(formula: Element) -> str:
    """Returns the text of a formula, with marks for fractions, roots, powers, sums and brackets."""
    name = name_of(formula)
    match name:
        case "t":
            return formula.text or ""
        case "d":
            begin, between, end = (_mark(formula, "dPr", each, default) for each, default in _BRACKETS)
            return begin + between.join(_parts(formula)) + end
        case "nary":
            return _mark(formula, "naryPr", "chr", "∫") + "".join(_parts(formula))
        case "acc":
            return "".join(_parts(formula)) + _mark(formula, "accPr", "chr", "\u0302")
        case "func":
            return " ".join(_parts(formula))
        case "lim":
            above = formula.getparent()
            return _LIMITS.get(name_of(above), "") + "".join(_parts(formula))
        case _:
            return _BEFORE.get(name, "") + _BETWEEN.get(name, "").join(_parts(formula))


_BRACKETS = (("begChr", "("), ("sepChr", "|"), ("endChr", ")"))


def _parts(formula: Element) -> list[str]:
    texts = (formula_text(each) for each in formula if _is_read(each))
    return [text for text in texts if text]


def _is_read(part: Element) -> bool:
    name = name_of(part)
    return bool(name) and name not in _LEFT_OUT and not name.endswith("Pr")


def _mark(formula: Element, properties: str, name: str, default: str) -> str:
    """Returns the mark that the properties name. If they name none, it is the default; it may be an empty text."""
    own = child(formula, properties)
    mark = child(own, name) if own is not None else None
    return default if mark is None else attribute(mark, "val") or ""
