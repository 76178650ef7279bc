"""The input files of a run's code, and their names in the sandbox in addition to their ids. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.tools.base import HostedRun, Json

# Maximum length of a file's name in the sandbox, in bytes. Files with longer names have only their id.
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file object that exists. `blob` is the key of its bytes, `bytes` their number and `sha256` their hash."""

    id: str
    name: str
    blob: str
    bytes: int
    sha256: str


def inputs(run: HostedRun) -> list[str]:
    """Returns the ids of the files that the run and its thread name for the tool."""
    named = [*_file_ids(run.run_resources), *_file_ids(run.thread_resources)]
    return list(dict.fromkeys(named))


def with_names(files: Sequence[KnownFile]) -> list[tuple[KnownFile, str | None]]:
    """Returns each file with its name in the sandbox, or None if that is invalid or an earlier file has it."""
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
    """Returns the file's name if it is a valid name in the sandbox and not an id, else None."""
    name = os.path.basename(file.name.replace("\\", "/"))
    fits = 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME and name.isprintable() and not name.startswith(".")
    return name if fits and name != file.id else None
