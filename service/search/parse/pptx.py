"""PowerPoint presentations: the text of each slide, then its notes and its comments.

Text of a layout or a master that is no placeholder is seen on every slide that uses it; it is yielded with the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from service.search.parse.archive import MAX_NESTING
from service.search.parse.drawings import drawing_text, graphic_lines
from service.search.parse.ooxml import Element, Package, Part, child, chosen_content, name_of
from service.search.parse.types import TextPiece


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the shapes, tables, charts, diagrams, notes and comments of each slide; the page is its number from 1."""
    package = Package(file)
    slides = child(package.main.root, "sldIdLst")
    for number, entry in enumerate(slides if slides is not None else (), 1):
        slide = package.main.part_of(_relation_id(entry))
        if slide is None:
            continue
        lines = [*_shape_lines(slide, placeholders=None), *_background_lines(slide)]
        for notes in slide.parts_of_type("notesSlide"):
            lines += _shape_lines(notes, placeholders=("body",))
        for kind in ("comments", "comment"):
            for comments in slide.parts_of_type(kind):
                lines += _comment_lines(comments.root)
        if any(line.strip() for line in lines):
            yield "\n".join(lines) + "\n\n", number


def _relation_id(entry: Element) -> str | None:
    """Returns the id of the relationship of a slide; its own id is an attribute `id` without a namespace."""
    return next((str(value) for key, value in entry.attrib.items() if str(key).endswith("}id")), None)


def _background_lines(slide: Part) -> Iterator[str]:
    for layout in slide.parts_of_type("slideLayout"):
        yield from _shape_lines(layout, placeholders=())
        for master in layout.parts_of_type("slideMaster"):
            yield from _shape_lines(master, placeholders=())


def _shape_lines(part: Part, *, placeholders: tuple[str, ...] | None) -> Iterator[str]:
    """Yields the texts of the part's shapes; of its placeholders only those of these types, or all if it is None."""
    content = child(part.root, "cSld")
    tree = child(content, "spTree") if content is not None else None
    if tree is not None:
        yield from _tree_lines(tree, part, placeholders, 0)


def _tree_lines(tree: Element, part: Part, placeholders: tuple[str, ...] | None, depth: int) -> Iterator[str]:
    if depth > MAX_NESTING:
        raise RecursionError
    for shape in tree:
        name = name_of(shape)
        if name == "AlternateContent":
            chosen = chosen_content(shape)
            if chosen is not None:
                yield from _tree_lines(chosen, part, placeholders, depth + 1)
        elif name in ("sp", "graphicFrame", "grpSp", "cxnSp", "pic") and _is_seen(shape, placeholders):
            if name == "grpSp":
                yield from _tree_lines(shape, part, placeholders, depth + 1)
            elif name == "sp":
                body = child(shape, "txBody")
                if body is not None:
                    yield drawing_text(body)
            else:
                yield from graphic_lines(shape, part)


def _is_seen(shape: Element, placeholders: tuple[str, ...] | None) -> bool:
    own = next((each for each in shape if name_of(each).startswith("nv")), None)
    properties = child(own, "cNvPr") if own is not None else None
    if properties is not None and properties.get("hidden") in ("1", "true"):
        return False
    kind = next((each.get("type") or "body" for each in (own.iter("{*}ph") if own is not None else ())), None)
    return kind is None or placeholders is None or kind in placeholders


def _comment_lines(comments: Element) -> Iterator[str]:
    """Yields the texts of comments of the old form, or of the threads of the new form."""
    for comment in comments.iter("{*}cm", "{*}reply"):  # the replies of a comment are inside it, before its own text
        for element in comment:
            if name_of(element) in ("text", "txBody"):
                yield drawing_text(element) if name_of(element) == "txBody" else element.text or ""
