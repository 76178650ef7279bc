"""Assembles the tool calls of a streamed reply from their pieces. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.model.base import ModelError, ToolCallDelta
from service.model.errors import to_storable
from service.model.split_characters import CharacterJoiner

MAX_TOOL_CALLS = 128  # in one reply: the number of tools that an assistant may have


@dataclass(slots=True)
class _PartialCall:
    """An incomplete tool call. Its first event is sent when its name is known; `arguments` are held back until then."""

    index: int
    server_id: str | None
    name: str = ""
    is_announced: bool = False
    arguments: str = ""
    characters: CharacterJoiner = field(default_factory=CharacterJoiner)


class CallParser:
    """Parses pieces of tool calls. `mint` returns an id for a call to which the server gave none."""

    def __init__(self, mint: Callable[[], str]) -> None:
        self._mint = mint
        self._calls: list[_PartialCall] = []
        self._by_index: dict[int, _PartialCall] = {}

    @property
    def count(self) -> int:
        """The number of calls."""
        return len(self._calls)

    def read(
        self, index: int | None, call_id: object, function: Mapping[str, Any], within_bound: Callable[[str], str]
    ) -> list[ToolCallDelta]:
        """Returns the events of a piece. `within_bound` cuts its arguments at the bound of the reply.

        Raises ModelError if there are more than MAX_TOOL_CALLS calls.
        """
        call = self._find(index, str(call_id) if call_id else None, function.get("name"))
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        arguments = call.characters.feed(within_bound(arguments))
        call.name = call.name or to_storable(function.get("name") or "")
        if call.is_announced:
            return [ToolCallDelta(call.index, None, None, arguments)] if arguments else []
        if call.name:
            call.is_announced = True
            server_id = to_storable(call.server_id) if call.server_id else self._mint()
            return [ToolCallDelta(call.index, server_id, call.name, call.arguments + arguments)]
        call.arguments += arguments
        return []

    def end(self) -> list[ToolCallDelta]:
        """Returns the last events. Raises ModelError if a call has no name."""
        if not all(call.is_announced for call in self._calls):
            raise ModelError("server_error", "The model server sent a tool call without a name.")
        ends = ((call.index, call.characters.end()) for call in self._calls)
        return [ToolCallDelta(index, None, None, rest) for index, rest in ends if rest]

    def _find(self, index: int | None, call_id: str | None, name: str | None) -> _PartialCall:
        """Returns the call that a piece belongs to: by index; by id if there is no index; otherwise a name starts a
        call.

        Some servers send index 0 for all calls, so another id, with a name, starts another call.
        """
        call: _PartialCall | None = None
        if index is not None:
            call = self._by_index.get(index)
            if call is not None and name and call_id and call.server_id and call_id != call.server_id:
                call = next((known for known in self._calls if known.server_id == call_id), None)
        elif call_id is not None:
            call = next((known for known in self._calls if known.server_id == call_id), None)
        elif self._calls and not (name and self._calls[-1].is_announced):
            call = self._calls[-1]
        if call is None:
            if len(self._calls) == MAX_TOOL_CALLS:
                raise ModelError("server_error", f"The model made more than {MAX_TOOL_CALLS} tool calls in one reply.")
            call = _PartialCall(len(self._calls), call_id)
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call
