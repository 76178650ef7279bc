"""Replays a recording against our server, and checks that our answers hold all that was recorded. They may hold more.

Ids are mapped when they first appear, and times need only be times. All other values must be equal, with keys in the
recorded order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

RECORDINGS = Path(__file__).parent / "spec" / "recordings"
_ID = re.compile(
    r"\b(?:(?:asst|thread|msg|run|step|call)_[A-Za-z0-9]{24}|file-[A-Za-z0-9]{22}|(?:upload|part|vs|vsfb|vsfb_ibj)_[0-9a-f]{32})\b"
)


@dataclass(frozen=True, slots=True)
class Exchange:
    method: str
    path: str  # without /v1, percent-encoded as it was sent
    request: Any
    response: Any  # JSON, or the frames of a stream as (event, data)


def load(name: str) -> list[Exchange]:
    recording = orjson.loads((RECORDINGS / f"{name}.json").read_bytes())
    return [
        Exchange(one["method"], one["path"].removeprefix("/v1"), one["request"], _answer(one["response"]))
        for one in recording["exchanges"]
    ]


def _answer(response: Any) -> Any:
    if not isinstance(response, list):
        return response
    events, datas = response[0::2], response[1::2]
    return [
        (event.removeprefix("event: ").strip(), _data(data.removeprefix("data: ").strip()))
        for event, data in zip(events, datas, strict=True)
    ]


def _data(raw: str) -> Any:
    return raw if raw == "[DONE]" else orjson.loads(raw)


def merge_deltas(frames: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Returns the frames with the successive deltas of a part merged into one, as SDKs merge them."""
    found: list[tuple[str, Any]] = []
    for event, data in frames:
        if event.endswith(".delta") and found and _continues(found[-1], event, data):
            _accumulate(found[-1][1]["delta"], data["delta"])
        else:
            found.append((event, orjson.loads(orjson.dumps(data))))
    return found


def _continues(last: tuple[str, Any], event: str, data: Any) -> bool:
    return last[0] == event and last[1]["id"] == data["id"]


def _accumulate(whole: Any, piece: Any) -> None:
    for key, value in piece.items():
        if key in ("index", "type") or key not in whole:
            assert whole.setdefault(key, value) == value, f"{key} changed between deltas"
        elif isinstance(value, str):
            whole[key] += value
        elif isinstance(value, dict):
            _accumulate(whole[key], value)
        else:
            assert isinstance(value, list), f"a delta repeats {key}"
            for item in value:
                known = [one for one in whole[key] if one["index"] == item["index"]]
                if known:
                    _accumulate(known[0], item)
                else:
                    whole[key].append(item)


@dataclass
class Mapping:
    """Maps recorded ids to ours."""

    ids: dict[str, str] = field(default_factory=dict)

    def ours(self, recorded: str) -> str:
        """Returns the text with every known recorded id replaced by ours."""
        return _ID.sub(lambda found: self.ids.get(found[0], found[0]), recorded)

    def request(self, body: Any) -> Any:
        return None if body is None else orjson.loads(self.ours(orjson.dumps(body).decode()))

    def differences(self, recorded: Any, ours: Any, where: str) -> list[str]:
        """Returns the parts of the recorded value that are missing or different in ours, each with its path."""
        if type(recorded) is not type(ours):
            return [f"{where}: recorded {recorded!r}, ours {ours!r}"]
        if isinstance(recorded, dict):
            return self._keys(recorded, ours, where)
        if isinstance(recorded, list):
            if len(recorded) != len(ours):
                return [f"{where}: recorded {len(recorded)} items, ours {len(ours)}"]
            pairs = enumerate(zip(recorded, ours, strict=True))
            return [one for at, (left, right) in pairs for one in self.differences(left, right, f"{where}[{at}]")]
        if isinstance(recorded, str) and _ID.fullmatch(recorded):
            return self._id(recorded, ours, where)
        if isinstance(recorded, int) and where.endswith("_at"):
            return []
        return [] if recorded == ours else [f"{where}: recorded {recorded!r}, ours {ours!r}"]

    def _keys(self, recorded: dict[str, Any], ours: dict[str, Any], where: str) -> list[str]:
        lacking = [key for key in recorded if key not in ours]
        if lacking:
            return [f"{where}: lacks {lacking}"]
        found = [] if [key for key in ours if key in recorded] == list(recorded) else [f"{where}: order {list(ours)}"]
        for key, value in recorded.items():
            found += self.differences(value, ours[key], f"{where}.{key}")
        return found

    def _id(self, recorded: str, ours: str, where: str) -> list[str]:
        if not _ID.fullmatch(ours) or re.split("[_-]", ours)[0] != re.split("[_-]", recorded)[0]:
            return [f"{where}: {ours!r} has another shape than {recorded!r}"]
        known = self.ids.setdefault(recorded, ours)
        return [] if known == ours else [f"{where}: recorded {recorded} again, ours {ours} for {known}"]
