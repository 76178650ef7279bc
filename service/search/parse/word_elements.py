"""Facts about single elements of Word documents (ECMA-376 part 1, 17)."""

from __future__ import annotations

from service.search.parse.ooxml import Element, attribute, child, integer, is_on, name_of


def selected_entry(mark: Element) -> str:
    """Returns the entry that a drop-down field of a form shows."""
    choices = next(mark.iter("{*}ddList"), None)
    if choices is None:
        return ""
    entries = [attribute(each, "val") or "" for each in choices if name_of(each) == "listEntry"]
    chosen = child(choices, "result")
    chosen = chosen if chosen is not None else child(choices, "default")
    number = integer(chosen) if chosen is not None else 0
    return entries[number] if number < len(entries) else ""


def run_font(text: Element) -> str | None:
    """Returns the font of a run, in which the letters of a symbol font are."""
    properties = child(text.getparent(), "rPr")
    fonts = child(properties, "rFonts") if properties is not None else None
    return None if fonts is None else attribute(fonts, "ascii") or attribute(fonts, "hAnsi")


def is_continued(properties: Element) -> bool:
    """Returns whether the line of the next paragraph continues that of a paragraph with these properties: its end is
    deleted or hidden, or it is a large first letter.
    """
    frame, mark = child(properties, "framePr"), child(properties, "rPr")
    if frame is not None and attribute(frame, "dropCap") in ("drop", "margin"):
        return True
    return mark is not None and (
        child(mark, "del") is not None or child(mark, "moveFrom") is not None or is_on(mark, "vanish")
    )


def is_deleted_cell(cell: Element) -> bool:
    properties = child(cell, "tcPr")
    return properties is not None and child(properties, "cellDel") is not None


def is_old_section(section: Element) -> bool:
    """Returns whether the section's settings are those from before a tracked change."""
    return any(name_of(above) in ("sectPrChange", "pPrChange") for above in section.iterancestors())


def is_inside(element: Element, block: Element) -> bool:
    return element is block or any(above is block for above in element.iterancestors())


def fields_with_end(root: Element) -> set[Element]:
    """Returns the begins of a part's fields that have an end."""
    found, begins = set[Element](), list[Element]()
    for mark in root.iter("{*}fldChar"):
        kind = attribute(mark, "fldCharType")
        if kind == "begin":
            begins.append(mark)
        elif kind == "end" and begins:
            found.add(begins.pop())
    return found
