"""The layers to which `scripts/bench profile` counts samples of the server's stacks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# Patterns of files, by layer. A sample belongs to the layer of the innermost frame that matches one; frames that match
# none (the standard library, pydantic, parts of aiohttp that client and server share) belong to their caller.
_LAYERS = {
    "asyncpg": r"/asyncpg/",
    "aiohttp client": r"/aiohttp/(?:client|connector|resolver|cookiejar)",
    "aiohttp server": r"/aiohttp/web",
    "openai and its transport": r"/(?:openai|httpx2?|httpcore2?|httpx_aiohttp|anyio|sniffio)/",
    "model client": r"/service/model/",
    "event encoding": r"/events/(?:codec|envelope|leaves)\.py|/events/thread/events\.py",
    "append and views": r"/events/event_log\.py|/service/writer/|/projections/|/service/idempotency/|/sql/",
    "connection pool": r"/service/database/",
    "decisions and state": r"/events/",
    "run logic": r"/service/(?:runs|tools|tool_adapters|partial_json|webhooks|vector_stores)",
    "streams": r"/service/(?:feed|deltas)\.py|/service/wire/sse/|/service/http/(?:run|thread)_stream\.py",
    "middleware": r"/service/http/(?:application|auth|azure|connections|cors|errors|idempotency|metrics|middleware"
    r"|rate_limits|route_table|server|tracing|usage_meter)\.py|/service/access/|/service/telemetry/|/structlog/"
    r"|/prometheus_client/",
    "parsing and rendering": r"/service/wire/",
    "handlers": r"/service/http/",
    "rest of Everthread": r"/service/",
}
_COMPILED = {layer: re.compile(pattern) for layer, pattern in _LAYERS.items()}
LOOP = "event loop"
_START = "/asyncio/runners.py"
_IDLE = "/concurrent/futures/thread.py"
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]+?)(?::\d+)?\)$")


def parse_stacks(raw: str) -> list[tuple[list[str], int]]:
    """Parses the raw format of py-spy: in each line the frames from the outermost on, and the number of samples.

    The frames that start the event loop are left out, and so are threads of a pool that wait for work.
    """
    stacks = []
    for line in raw.splitlines():
        text, _, count = line.rpartition(" ")
        frames = text.split(";")
        if _IDLE in frames[-1]:
            continue
        starts = [at for at, frame in enumerate(frames) if _START in frame]
        stacks.append((frames[starts[-1] + 1 :] if starts else frames, int(count)))
    return stacks


def layer_of(frames: Iterable[str]) -> str:
    """Returns the layer of a stack, whose outermost frame is first."""
    for frame in reversed(list(frames)):
        for layer, pattern in _COMPILED.items():
            if pattern.search(frame):
                return layer
    return LOOP


def count_layers(stacks: Iterable[tuple[list[str], int]]) -> Counter[str]:
    """Returns the samples of each layer."""
    counts: Counter[str] = Counter()
    for frames, count in stacks:
        counts[layer_of(frames)] += count
    return counts


def count_functions(stacks: Iterable[tuple[list[str], int]]) -> Counter[str]:
    """Returns the samples in each function itself, under names such as "feed (service/feed.py)"."""
    counts: Counter[str] = Counter()
    for frames, count in stacks:
        counts[_function(frames[-1]) if frames else LOOP] += count
    return counts


def _function(frame: str) -> str:
    found = _FRAME.match(frame)
    if found is None:
        return frame
    return f"{found['function']} ({'/'.join(found['file'].split('/')[-3:])})"
