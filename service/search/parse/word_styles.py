"""The styles of a Word document (ECMA-376 part 1, 17.7)."""

from __future__ import annotations

from collections.abc import Iterator

from service.search.parse.ooxml import Element, Part, attribute, child, is_on


class WordStyles:
    """The styles of a document by their ids."""

    def __init__(self, main: Part) -> None:
        self._styles: dict[str, Element] = {}
        for part in main.parts_of_type("styles"):
            self._styles |= {attribute(style, "styleId") or "": style for style in part.root}

    def chain(self, properties: Element | None, reference: str) -> Iterator[Element]:
        """Yields the style that the child `reference` of some properties names, and the styles that it is based on."""
        named = child(properties, reference) if properties is not None else None
        return self.based_on(attribute(named, "val") if named is not None else None)

    def based_on(self, style_id: str | None) -> Iterator[Element]:
        """Yields the style with this id, and the styles that it is based on."""
        seen: set[str] = set()
        while style_id is not None and style_id not in seen and (style := self._styles.get(style_id)) is not None:
            seen.add(style_id)
            yield style
            base = child(style, "basedOn")
            style_id = attribute(base, "val") if base is not None else None

    def is_hidden(self, properties: Element | None, reference: str) -> bool:
        """Returns whether text is hidden by its properties, or by the style that their child `reference` names."""
        if properties is None:
            return False
        if child(properties, "vanish") is not None:
            return is_on(properties, "vanish")
        for style in self.chain(properties, reference):
            own = child(style, "rPr")
            if own is not None and child(own, "vanish") is not None:
                return is_on(own, "vanish")
        return False
