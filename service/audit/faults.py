"""The faults that `everthread verify` finds. Each one names its stream and its version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """A contradiction in the database. `stream_id` and `version` are None if it concerns none."""

    stream_id: str | None
    version: int | None
    text: str

    def __str__(self) -> str:
        place = self.stream_id or "log"
        return f"{place}{'' if self.version is None else f' version {self.version}'}: {self.text}"
