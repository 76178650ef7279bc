"""When a message that was not taken is sent again, and when an endpoint is given up. Pure."""

from __future__ import annotations

from random import Random

# Seconds between attempts: the first is soon, for a restart; all take some 26 hours, for a bad night.
PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 36_000.0)
# How much each pause may be shorter or longer, so that what failed together does not come again together.
JITTER = 0.2
# After a failure the whole endpoint is left alone as long as it has been failing, within these seconds: a struggling
# receiver is not hammered with all that piled up.
REST = 1.0
LONGEST_REST = 60.0
# An endpoint that has taken nothing for this long (seconds), and refused so many attempts, is disabled.
PATIENCE = 3 * 86_400.0
MIN_FAILURES = 10


def pause(failed: int, random: Random) -> float | None:
    """Seconds until the next attempt after `failed` ones; None where that was the last."""
    if failed > len(PAUSES):
        return None
    return PAUSES[failed - 1] * random.uniform(1 - JITTER, 1 + JITTER)


def hopeless(failures: int, seconds: float) -> bool:
    """Whether an endpoint that failed so often in a row, over so many seconds, is to be disabled."""
    return failures >= MIN_FAILURES and seconds >= PATIENCE
