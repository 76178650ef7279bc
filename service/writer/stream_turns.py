"""The turns of this process's commands on a stream, so that only other processes cause conflicts."""

from __future__ import annotations

import asyncio
from collections import deque

# Seconds that a command waits for its turn on the stream.
TURN_TIMEOUT = 5.0


class StreamTurns:
    """The streams on which commands are at work, and the commands that wait for them, in the order of their arrival."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def enter(self, stream_id: str) -> None:
        """Waits for the caller's turn on the stream. Call `leave` at its end.

        Raises TimeoutError after TURN_TIMEOUT. Each caller has its own time-out: if the database hangs, they do not
        wait one after another.
        """
        waiting = self._waiting.get(stream_id)
        if waiting is None:
            self._waiting[stream_id] = deque()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            async with asyncio.timeout(TURN_TIMEOUT):
                await turn
        except BaseException:
            if not turn.cancelled():
                self.leave(stream_id)  # the turn came at the same moment
            raise

    def leave(self, stream_id: str) -> None:
        """Gives the turn on the stream to the next caller that still waits."""
        waiting = self._waiting[stream_id]
        while waiting:
            turn = waiting.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return
        del self._waiting[stream_id]
