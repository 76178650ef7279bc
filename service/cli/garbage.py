"""When garbage is collected: a collection holds all threads, so the event loop too.

Small collections visit the newest containers only. A full one visits all of them, among them those of kept histories,
which takes 200 ms and more. So it waits for a moment in which the server has no work.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

# Containers that are created between two collections of young garbage. Parsing a large request creates up to 200,000.
GC_THRESHOLD = 10_000
# Collections of the youngest containers before one visits the middle generation too, which holds what those left.
MIDDLE_THRESHOLD = 1
# More collections of the middle generation than there are: a full collection never begins by itself.
_NEVER = 2**31 - 1
# Collections of the middle generation, each of up to 30,000 containers, after which a full one follows: when the server
# has no work, and in any case.
FULL_AFTER = 10
FULL_AT_MOST = 100
CHECK_S = 5.0
# The server has no work if it uses at most this share of a processor for so many seconds.
IDLE_SHARE = 0.05
IDLE_S = 0.2
# Seconds for which a thread runs while another one waits for the interpreter.
SWITCH_INTERVAL_S = 0.001


def exempt_started_objects() -> None:
    """Exempts all objects that exist from the collection of garbage, and lets small collections begin.

    A collection that visits the modules of the server takes 150 ms, in which nobody is served. The garbage of the
    start, about a megabyte, is kept too.
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, MIDDLE_THRESHOLD, _NEVER)
    gc.enable()


async def collect_while_idle() -> None:
    """Makes full collections, until it is cancelled. Before `exempt_started_objects` it makes none."""
    while True:
        await asyncio.sleep(CHECK_S)
        waiting = gc.get_count()[2] if gc.isenabled() else 0
        if waiting >= FULL_AT_MOST or (waiting >= FULL_AFTER and await _is_idle()):
            gc.collect()


async def _is_idle() -> bool:
    used, at = time.process_time(), time.monotonic()
    await asyncio.sleep(IDLE_S)
    return time.process_time() - used <= IDLE_SHARE * (time.monotonic() - at)


def shorten_turns_of_threads() -> None:
    """Makes a thread that computes give way to the event loop sooner than by default, after SWITCH_INTERVAL_S.

    The event loop asks for the interpreter several times for each request.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
