"""Assembles the tool calls of a streamed reply from their pieces. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.model.base import ModelError, ToolCallDelta
from service.model.errors import to_storable
from service.model.object_pieces import ObjectPieces
from service.model.split_characters import CharacterJoiner

MAX_TOOL_CALLS = 128  # in one reply: the number of tools that an assistant may have
MAX_NAME = 1024  # characters of a function's name with its namespaces; the rest of a longer one is left out
_NAMESPACES = re.compile(r"[.:/]")  # models write "functions.f", "default_api:f" or "functions.f:0"


@dataclass(slots=True)
class _PartialCall:
    """An incomplete tool call. Its first event is sent when its name is known, with the arguments up to then."""

    index: int
    server_id: str | None
    name: str = ""
    is_announced: bool = False
    arguments: ObjectPieces = field(default_factory=ObjectPieces)
    characters: CharacterJoiner = field(default_factory=CharacterJoiner)

    def continues(self, name: str, arguments: str) -> bool:
        """Whether a piece with a name but without this call's id belongs to it: some servers repeat the name."""
        if name != self.name:
            return False
        return self.arguments.value() is None if self.arguments.has_text else bool(arguments.strip())

    def is_complete(self, next_name: str) -> bool:
        """Whether the arguments are an object, so that a piece with this name belongs to another call.

        An empty object before other arguments of the same function is a placeholder, which some gateways send.
        """
        found = self.arguments.value()
        return found is not None and (bool(found) or next_name != self.name)

    def is_repeated_by(self, name: str, arguments: str) -> bool:
        """Whether a piece is this whole call."""
        return name == self.name and len(arguments) == self.arguments.size and arguments == self.arguments.text


class CallParser:
    """Parses pieces of tool calls. `mint` returns an id for a call to which the server gave none.

    `names` are the functions of the request. A name that may be the beginning of a longer one is held back until there
    are arguments, because some servers divide names.
    """

    def __init__(self, mint: Callable[[], str], names: Collection[str] = ()) -> None:
        self._mint = mint
        self._names = frozenset(names)
        self._calls: list[_PartialCall] = []
        self._by_index: dict[int, _PartialCall] = {}
        self._by_id: dict[str, _PartialCall] = {}
        # The index of the call to which the last piece belonged.
        self.last_read = 0

    @property
    def count(self) -> int:
        """The number of calls."""
        return len(self._calls)

    def read(
        self, index: int | str | None, call_id: object, function: Mapping[str, Any], within_bound: Callable[[str], str]
    ) -> list[ToolCallDelta]:
        """Returns the events of a piece. `within_bound` cuts its arguments at the bound of the reply.

        A call that is sent a second time, whole, has no events. Raises ModelError if there are more than MAX_TOOL_CALLS
        calls.
        """
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        name = to_storable((function.get("name") or "")[: 2 * MAX_NAME]).strip()[:MAX_NAME]
        call_id = str(call_id) if call_id else None
        index = int(index) if isinstance(index, str) else index
        call = self._find(index, call_id, name, arguments)
        if call is not None and name and arguments and call.is_complete(name):
            if call_id is not None and call.is_repeated_by(name, arguments):
                self.last_read = call.index
                return []
            call = None  # some servers give all calls one index, or one id
        if call is None:
            call = self._new_call(call_id)
        self.last_read = call.index
        if index is not None:
            self._by_index[index] = call
        if name and not call.is_announced and not call.arguments.has_text:
            call.name = _join_names(call.name, name)
        arguments = call.characters.feed(within_bound(arguments))
        call.arguments.add(arguments)
        call.name = call.name or name
        self._name_by_id(call, call.server_id or call_id)
        if call.is_announced:
            return [ToolCallDelta(call.index, None, None, arguments)] if arguments else []
        if call.name and (call.arguments.has_text or not self._may_grow(call.name)):
            return [self._announce(call)]
        return []

    def end(self) -> list[ToolCallDelta]:
        """Returns the last events. Raises ModelError if a call has no name."""
        if not all(call.name for call in self._calls):
            raise ModelError("server_error", "The model server sent a tool call without a name.")
        events = [self._announce(call) for call in self._calls if not call.is_announced]
        ends = ((call.index, call.characters.end()) for call in self._calls)
        return [*events, *(ToolCallDelta(index, None, None, rest) for index, rest in ends if rest)]

    def _announce(self, call: _PartialCall) -> ToolCallDelta:
        """Returns the first event of a call."""
        call.is_announced = True
        server_id = to_storable(call.server_id) if call.server_id else self._mint()
        return ToolCallDelta(call.index, server_id, self._function_of(call.name), call.arguments.text)

    def _may_grow(self, name: str) -> bool:
        """Whether the name may be the first part of the name of a function."""
        return any(each != name and each.startswith(name) for each in self._names)

    def _function_of(self, name: str) -> str:
        """Returns the function of the request that a name means, which may stand in a namespace; else the name."""
        if name in self._names:
            return name
        found = [part for part in _NAMESPACES.split(name) if part in self._names]
        return found[0] if len(found) == 1 else name

    def _find(self, index: int | None, call_id: str | None, name: str, arguments: str) -> _PartialCall | None:
        """Returns the call that a piece belongs to: by index; by id if there is no index; otherwise a name starts a
        call.

        Some servers send index 0 for all calls, so another id, with a name, starts another call.
        """
        by_id = self._by_id.get(call_id) if call_id is not None else None
        if index is not None:
            call = self._by_index.get(index)
            if call is not None and name and call_id and call.server_id and call_id != call.server_id:
                return by_id or (call if call.arguments.has_text and call.continues(name, arguments) else None)
            return call
        if call_id is not None:
            return by_id
        last = self._calls[-1] if self._calls else None
        if last is not None and name and last.name and not last.continues(name, arguments):
            return None
        return last

    def _new_call(self, call_id: str | None) -> _PartialCall:
        if len(self._calls) == MAX_TOOL_CALLS:
            raise too_many_calls()
        call = _PartialCall(len(self._calls), None)
        self._calls.append(call)
        self._name_by_id(call, call_id)
        return call

    def _name_by_id(self, call: _PartialCall, server_id: str | None) -> None:
        """Gives the call its server's id. If several calls have one id, it stands for the newest of them."""
        if server_id is None or server_id == call.server_id:
            return
        call.server_id = server_id
        known = self._by_id.get(server_id)
        if known is None or known.index < call.index:
            self._by_id[server_id] = call


def too_many_calls() -> ModelError:
    return ModelError("server_error", f"The model made more than {MAX_TOOL_CALLS} tool calls in one reply.")


def _join_names(before: str, piece: str) -> str:
    """Returns a name after a piece of it. Some servers repeat the whole name, or its beginning."""
    return piece if piece.startswith(before) else (before + piece)[:MAX_NAME]
