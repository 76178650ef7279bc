"""When a failed message is sent again, and when an endpoint is disabled. Pure."""

from __future__ import annotations

from random import Random

# Seconds between attempts. The first is short, for a receiver that restarts; the sum is about 26 hours.
PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 36_000.0)
# The part by which a pause may be shorter or longer, so that messages that failed together are not sent together.
JITTER = 0.2
# After a failure no message is sent to the endpoint for as long as it has been failing already, within these bounds in
# seconds, so that a struggling receiver does not get the whole backlog at once.
REST = 1.0
LONGEST_REST = 60.0
# An endpoint that has accepted no message for so many seconds and failed so many attempts is disabled.
PATIENCE = 3 * 86_400.0
MIN_FAILURES = 10


def pause(failed: int, random: Random) -> float | None:
    """Returns the seconds until the next attempt after `failed` ones; None if that was the last one."""
    if failed > len(PAUSES):
        return None
    return PAUSES[failed - 1] * random.uniform(1 - JITTER, 1 + JITTER)


def is_hopeless(failures: int, seconds: float) -> bool:
    """Returns whether to disable an endpoint with so many failures in a row, over so many seconds."""
    return failures >= MIN_FAILURES and seconds >= PATIENCE
