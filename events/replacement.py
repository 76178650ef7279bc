"""A `replace` for the frozen dataclasses with slots that states are made of.

A fold makes one or two states for each event. `dataclasses.replace` reads the fields of the class each time and calls
its constructor; this one copies slots by a function that is made once for each class, in a quarter of the time.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # So mypy checks the names and types of the changes.
    from dataclasses import replace as replace
else:
    _MAKERS: dict[type, Any] = {}

    def replace(state, /, **changes):
        """Returns a copy of a dataclass with slots and without `__post_init__`, with other values of some fields.

        Raises TypeError if there is no such field.
        """
        cls = type(state)
        maker = _MAKERS.get(cls)
        if maker is None:
            maker = _MAKERS[cls] = _make_maker(cls)
        return maker(state, **changes)

    def _make_maker(cls):
        """Returns a function that copies objects of the class: one assignment for each slot."""
        if hasattr(cls, "__post_init__"):
            raise TypeError(f"{cls.__name__} has a __post_init__, which copies would not run")
        names = [field.name for field in fields(cls)]
        unchanged = object()
        known = {"new": object.__new__, "cls": cls, "unchanged": unchanged}
        known |= {f"set_{name}": cls.__dict__[name].__set__ for name in names}
        lines = [f"def copy(state, *, {', '.join(f'{name}=unchanged' for name in names)}):", " copy = new(cls)"]
        lines += [f" set_{name}(copy, state.{name} if {name} is unchanged else {name})" for name in names]
        exec("\n".join([*lines, " return copy"]), known)
        return known["copy"]
