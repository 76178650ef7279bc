"""The outputs that clients submitted for the calls of their functions in a run. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import orjson

from events.objects import Json, Step

_Key = tuple[str, bytes]


class RecordedOutputs:
    """Finds outputs by the name of the function and its arguments, which are equal if they are equal as JSON.

    Equal calls get their outputs in the order in which they were recorded; further ones get the last of them.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._left: dict[_Key, list[str]] = defaultdict(list)
        for step in steps:
            for call in step.tool_calls:
                if call["type"] == "function" and call["id"] in step.outputs:
                    self._left[_key(call["function"])].append(step.outputs[call["id"]])

    def take(self, function: Json) -> str | None:
        """Returns the output for a call of {name, arguments}, or None if none was recorded."""
        outputs = self._left.get(_key(function))
        if not outputs:
            return None
        return outputs.pop(0) if len(outputs) > 1 else outputs[0]


def _key(function: Json) -> _Key:
    arguments = function["arguments"]
    try:
        return function["name"], orjson.dumps(orjson.loads(arguments), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        return function["name"], arguments.encode()
