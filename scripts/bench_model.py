"""The model server of `scripts/bench`: a scripted server (tests/scripted.py) that answers by the name of the model.

| model | answer |
|---|---|
| `plain` | TOKENS pieces of text, as fast as the client reads |
| `paced` | the same, a piece every PACE_MS |
| `slow` | the same, a piece a second |
| `tool` | a call of a function; after its output, the text of `plain` |

`python -m scripts.bench_model` prints `listening on http://127.0.0.1:N/v1` when it listens.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

import uvloop

from tests.scripted import Reply, ScriptedServer, calls, tokens

TOKENS = 64
PACE_MS = 20.0
KINDS = ("plain", "tool", "paced")

_TEXT = tokens(TOKENS)
_PACED = tokens(TOKENS, PACE_MS)
_SLOW = tokens(TOKENS, 1000.0)
_CALL = calls(("weather", {"city": "Paris"}))


def reply_for(request: Mapping[str, Any]) -> Reply | None:
    """Returns the reply to a request for one of these models, else None."""
    match request["model"]:
        case "tool":
            return _TEXT if request["messages"][-1]["role"] == "tool" else _CALL
        case "paced":
            return _PACED
        case "slow":
            return _SLOW
        case "plain":
            return _TEXT
        case _:
            return None


async def _serve() -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with ScriptedServer() as server:
        server.check = reply_for
        print(f"listening on {server.base_url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    uvloop.run(_serve())
