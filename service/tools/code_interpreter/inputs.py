"""The files that a run gives its code: which, and the names that they are found by besides their ids. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.tools.base import HostedRun, Json

# A file's name inside, in bytes; longer ones are to be had under their id only.
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file object that is there. `blob` is its bytes' key."""

    id: str
    name: str
    blob: str


def inputs(run: HostedRun) -> list[str]:
    """The files that the run and its thread name for the tool."""
    named = [*_file_ids(run.run_resources), *_file_ids(run.thread_resources)]
    return list(dict.fromkeys(named))


def named(files: Sequence[KnownFile]) -> list[tuple[KnownFile, str | None]]:
    """Each file with the name that is its: None where a file before it has that, or none can."""
    taken: set[str] = set()
    found = []
    for file in files:
        name = _name(file)
        free = name is not None and name not in taken
        found.append((file, name if free else None))
        taken.update([name] if name is not None else [])
    return found


def _file_ids(resources: Json) -> Iterator[str]:
    yield from (resources.get("code_interpreter") or {}).get("file_ids") or ()


def _name(file: KnownFile) -> str | None:
    """Its name, where that is one that a file can have and not its id."""
    name = os.path.basename(file.name.replace("\\", "/"))
    fits = 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME and name.isprintable() and not name.startswith(".")
    return name if fits and name != file.id else None
