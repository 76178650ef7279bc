"""Assembles the tool calls of a streamed reply from their pieces. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.model.base import ModelError, ToolCallDelta
from service.model.errors import to_storable
from service.model.split_characters import CharacterJoiner

MAX_TOOL_CALLS = 128  # in one reply: the number of tools that an assistant may have


@dataclass(slots=True)
class _PartialCall:
    """An incomplete tool call. Its first event is sent when its name is known; `arguments` are held back until then.

    `pieces` are all of its arguments.
    """

    index: int
    server_id: str | None
    name: str = ""
    is_announced: bool = False
    arguments: str = ""
    pieces: list[str] = field(default_factory=list)
    characters: CharacterJoiner = field(default_factory=CharacterJoiner)

    def is_complete(self, next_name: str) -> bool:
        """Whether the arguments are an object, so that a piece with this name belongs to another call.

        An empty object before other arguments of the same function is a placeholder, which some gateways send.
        """
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        try:
            found = orjson.loads("".join(self.pieces))
        except orjson.JSONDecodeError:
            return False
        return isinstance(found, dict) and (bool(found) or next_name != self.name)


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

        A call that is sent a second time, whole, has no events. Raises ModelError if there are more than MAX_TOOL_CALLS
        calls.
        """
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        name = to_storable(function.get("name") or "")
        call_id = str(call_id) if call_id else None
        call = self._find(index, call_id, name)
        if call is not None and name and arguments and call.is_complete(name):
            if call_id is not None and call.name == name and "".join(call.pieces) == arguments:
                return []
            call = None  # some servers give all calls one index, or one id
        if call is None:
            call = self._new_call(call_id)
        if index is not None:
            self._by_index[index] = call
        arguments = call.characters.feed(within_bound(arguments))
        call.pieces.append(arguments)
        call.name = call.name or name
        call.server_id = call.server_id or call_id
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

    def _find(self, index: int | None, call_id: str | None, name: str) -> _PartialCall | None:
        """Returns the call that a piece belongs to: by index; by id if there is no index; otherwise a name starts a
        call.

        Some servers send index 0 for all calls, so another id, with a name, starts another call.
        """
        by_id = next((known for known in reversed(self._calls) if known.server_id == call_id), None)
        if index is not None:
            call = self._by_index.get(index)
            if call is not None and name and call_id and call.server_id and call_id != call.server_id:
                call = by_id
            return call
        if call_id is not None:
            return by_id
        return self._calls[-1] if self._calls and not (name and self._calls[-1].is_announced) else None

    def _new_call(self, call_id: str | None) -> _PartialCall:
        if len(self._calls) == MAX_TOOL_CALLS:
            raise ModelError("server_error", f"The model made more than {MAX_TOOL_CALLS} tool calls in one reply.")
        call = _PartialCall(len(self._calls), call_id)
        self._calls.append(call)
        return call
