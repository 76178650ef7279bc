"""Packages of Office Open XML (ECMA-376): parts, their relationships, and the elements of their XML.

Elements are compared by their local names, so that documents of the strict and of the transitional form are the same.
A part is parsed at most once for a document: relationships of a hostile document may all name one large part.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO
from urllib.parse import unquote

from lxml import etree

from service.search.parse.archive import check_archive

Element = Any  # an lxml element, which has no types
# Namespaces that Office knows: the first choice of an AlternateContent that needs only these is shown.
_KNOWN = ("http://schemas.microsoft.com/office/", "http://schemas.openxmlformats.org/", "http://purl.oclc.org/ooxml/")
_OFF = ("0", "false", "off", "none")


def name_of(element: Element) -> str:
    """Returns the local name; an empty string for a comment or a processing instruction."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Element, name: str) -> str | None:
    """Returns the attribute with this local name, in any namespace."""
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return None


def integer(element: Element, name: str = "val", default: int = 0) -> int:
    """Returns the attribute as a number of up to nine digits, or the default if it is none."""
    text = attribute(element, name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def hexadecimal(element: Element, name: str) -> int:
    """Returns the attribute as a number that is written in up to six hexadecimal digits, or 0 if it is none."""
    text = attribute(element, name) or ""
    try:
        return int(text, 16) if text.isalnum() and len(text) <= 6 else 0
    except ValueError:
        return 0


def child(element: Element, name: str) -> Element | None:
    """Returns the first child with this local name."""
    return next((each for each in element if name_of(each) == name), None)


def is_on(properties: Element | None, name: str) -> bool:
    """Returns whether a property that is an element, such as <w:vanish/>, is present and not switched off."""
    found = child(properties, name) if properties is not None else None
    return found is not None and not is_off(attribute(found, "val") or "1")


def is_off(value: str) -> bool:
    return value in _OFF


def chosen_content(alternatives: Element) -> Element | None:
    """Returns the alternative of an mc:AlternateContent that Office shows: the same text is in each of them."""
    for each in alternatives:
        if name_of(each) == "Choice":
            needed = [each.nsmap.get(prefix) or "" for prefix in (each.get("Requires") or "").split()]
            if all(namespace.startswith(_KNOWN) for namespace in needed):
                return each
    return child(alternatives, "Fallback")


def descend(top: Iterable[Element], wanted: frozenset[str]) -> Iterator[Element]:
    """Yields the outermost elements below `top` that have one of the wanted names, in order, as Office shows them."""
    stack = [iter(top)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif name_of(element) in wanted:
            yield element
        elif name_of(element) == "AlternateContent":
            chosen = chosen_content(element)
            stack.append(iter(chosen if chosen is not None else ()))
        else:
            stack.append(iter(element))


class Part:
    """A part of a package: its path, its relationships by id as (type, target path), and its root element."""

    def __init__(self, package: Package, path: str) -> None:
        self._package = package
        self.path = path
        self.relations: dict[str, tuple[str, str]] = package.relations_of(path)
        self.root = package.parse(path)

    def part_of(self, relation_id: str | None) -> Part | None:
        """Returns the part that the relationship names; None if it is missing or was returned before."""
        _, path = self.relations.get(relation_id or "", ("", ""))
        return self._package.take(path)

    def parts_of_type(self, kind: str) -> list[Part]:
        """Returns the parts of relationships whose type ends in `kind`, which were not returned before."""
        paths = [path for found, path in self.relations.values() if found.rpartition("/")[2] == kind]
        return [part for path in paths if (part := self._package.take(path)) is not None]


class Package:
    """An open package; `main` is the part of the document. Raises UnreadableFile, and KeyError if it is damaged."""

    def __init__(self, file: BinaryIO) -> None:
        check_archive(file)
        self._archive = zipfile.ZipFile(file)
        self._names = {name.lower(): name for name in self._archive.namelist()}
        self._taken: set[str] = set()
        kinds = {kind.rpartition("/")[2]: path for kind, path in self.relations_of("").values()}
        main = self.take(kinds["officeDocument"])
        if main is None:
            raise KeyError(kinds["officeDocument"])
        self.main = main

    def take(self, path: str) -> Part | None:
        """Returns the part; None if it is missing or was returned before."""
        name = self._names.get(path.lower())
        if name is None or name in self._taken:
            return None
        self._taken.add(name)
        return Part(self, name)

    def has(self, path: str) -> bool:
        return path.lower() in self._names

    def read(self, path: str) -> bytes:
        return self._archive.read(self._names[path.lower()])

    def open(self, path: str) -> BinaryIO:
        return self._archive.open(self._names[path.lower()])  # type: ignore[return-value]

    def parse(self, path: str) -> Element:
        """Returns the root of the part; an empty element if it is not XML. Entities are not expanded."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
        if not path.lower().endswith((".xml", ".rels")):
            return etree.Element("none")
        return etree.fromstring(self.read(path), parser)

    def relations_of(self, path: str) -> dict[str, tuple[str, str]]:
        folder, name = posixpath.split(path)
        rels = posixpath.join(folder, "_rels", f"{name}.rels")
        if rels.lower() not in self._names:
            return {}
        found: dict[str, tuple[str, str]] = {}
        for relation in self.parse(rels):
            target = unquote(relation.get("Target") or "")
            if relation.get("TargetMode") != "External":
                full = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
                found[relation.get("Id") or ""] = (relation.get("Type") or "", posixpath.normpath(full))
        return found
