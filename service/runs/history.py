"""Reads a thread's history for a prompt, at most as much of it as the model's window can hold.

Entries are in the order of the conversation, which differs from the order of the log: a message that a client adds
while a run is working comes after the run's answer, and is read by later runs only. So a run's prompt is the same
whenever it is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from events import event_log
from events.envelope import RecordedEvent
from events.event_log import NO_END
from events.objects import Json, Message, Run, Step
from events.thread import events as e
from projections import messages, steps
from projections.rows import PromptPosition
from service.database import Pool
from service.runs.history_cache import TYPES, History, HistoryCache, Placed
from service.runs.history_size import CHARACTERS_PER_TOKEN, message_length, step_length
from service.runs.prompt import Entry
from service.tasks.off_loop import compute, is_large
from sql.connection import Connection

# Messages and steps that are read at once, if they do not exceed the bytes of a page.
PAGE = 200
STEPS_PAGE = 20
MAX_STEPS = 1000
# Newer events that are read at once, and the pages of them that are applied to a kept history. If there are more, it is
# read again.
MAX_NEWER = 100
MAX_PAGES = 20
# Bytes of the URLs of images that are kept of a history, the newest first, and the part in place of the others.
MAX_IMAGE_BYTES = 32 * 1024**2
TOO_LARGE: Json = {
    "type": "text",
    "text": {"value": "[image_url: not shown, the images of the thread are too large]", "annotations": []},
}
_BEGINNING: PromptPosition = (0, 0)


@dataclass(frozen=True, slots=True)
class PromptHistory:
    """The entries that a prompt may have, numbered in order.

    `version` is that of the thread at the reading; null if it is unknown. `is_whole` says that all entries that the
    run may read are there, apart from those that the run's own truncation strategy leaves out.
    """

    entries: list[Entry]
    version: int | None
    is_whole: bool


class HistoryReader:
    """Reads histories for the prompts of a process, and keeps them for the next prompts of their threads.

    A kept history follows the appends of this process, so a prompt needs no query unless another process has appended.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._cache = HistoryCache()

    async def read(self, run: Run, position: int, window: int, version: int | None) -> PromptHistory:
        """Returns the newest messages and tool_calls steps that the run may read, and the first message of the thread.

        `position` is that of the run. `window` is the model's context window in
        tokens. `version` is one up to which the thread is known to be committed; null if none is known. A kept history
        that has all events up to it costs nothing, and an older one costs one query for its newer events.
        """
        if run.truncation_strategy["type"] == "last_messages":
            async with self._pool.acquire() as db:
                found, is_whole = await load_entries(db, run, window)
            return PromptHistory(_number(found), version, is_whole)
        history = self._cache.find(run.thread_id)
        if history is None or version is None or history.version < version or not history.covers(window):
            history = await self._read_newer(run, position, window, version)
        return PromptHistory(_number(history.before(position)), history.version, history.window is None)

    def find_step(self, thread_id: str, step_id: str, *, version: int) -> Step | None:
        """Returns a tool_calls step as of this version of its thread; None if the kept history is of another version,
        or does not have it.
        """
        history = self._cache.find(thread_id)
        if history is None or history.version != version:
            return None
        found = history.entries.get(step_id)
        return found[1] if found is not None and isinstance(found[1], Step) else None

    def follow(self, thread_id: str, recorded: Sequence[RecordedEvent[e.ThreadEvent]]) -> None:
        """Applies events that this process has just appended to the kept history of their thread.

        They are applied only if none is missing before them. A new thread gets a history; that of a deleted one is
        dropped, and that of more than MAX_NEWER events, so that the event loop is not held.
        """
        if len(recorded) > MAX_NEWER or any(isinstance(entry.event, e.ThreadDeleted) for entry in recorded):
            self._cache.take(thread_id)
            return
        history = self._cache.find(thread_id)
        if history is None and isinstance(recorded[0].event, e.ThreadCreated):
            history = History(version=0, window=None)
        if history is not None and history.version == recorded[0].version - 1:
            history.add(recorded)
            self._cache.put(thread_id, history)

    async def _read_newer(self, run: Run, position: int, window: int, version: int | None) -> History:
        """Returns the kept history with its newer events, or one that is read from the views, and keeps it."""
        history = self._cache.take(run.thread_id)
        async with self._pool.acquire() as db:
            is_current = history is not None and await _update(db, run.thread_id, history, MAX_PAGES)
            if history is None or not is_current or not history.covers(window):
                found, is_whole = await load_entries(db, run, window)
                read_window = None if is_whole else window
                # It is of the time of the run's position: what came later is in the log.
                history_of = partial(History.of, run, position, read_window, found)
                history = await compute(history_of, in_thread=is_large(found))
                await _update(db, run.thread_id, history, pages=None)
        history.version = max(history.version, version or 0)
        self._cache.put(run.thread_id, history)
        return history


async def _update(db: Connection, thread_id: str, history: History, pages: int | None) -> bool:
    """Applies the newer events to a history, at most so many pages. Returns whether these were all."""
    read = 0
    while pages is None or read < pages:
        page = await event_log.read_types(db, thread_id, TYPES, after=history.version, until=NO_END, limit=MAX_NEWER)
        history.add(page.recorded)
        read += 1
        if not page.more:
            return True
    return False


def _number(found: Sequence[Placed]) -> list[Entry]:
    return list(enumerate((entry for _, entry in found), start=1))


async def load_entries(db: Connection, run: Run, window: int) -> tuple[list[Placed], bool]:
    """Returns the entries of a run's prompt in order, from the views, and whether they are all that it may read."""
    newest = (
        run.truncation_strategy.get("last_messages") if run.truncation_strategy["type"] == "last_messages" else None
    )
    first: tuple[PromptPosition, Message] | None = None
    found: list[Placed] = []
    characters, others, image_room = 0, 0, MAX_IMAGE_BYTES
    position: PromptPosition | None = None
    is_cut = False
    while newest is None or others < newest:
        # The run's own messages do not count, or they would displace the question that the run answers.
        wanted = PAGE if newest is None else min(PAGE, newest - others)
        page = await messages.newest_messages(db, run.thread_id, run.id, position, wanted)
        for place, message in page.items:
            shown, image_room = _within_room(message, image_room)
            found.append((place, shown))
        others += sum(message.run_id != run.id for _, message in page.items)
        characters += sum(message_length(message) for _, message in page.items)
        if not page.more:
            break
        position = page.items[-1][0]
        if characters > window * CHARACTERS_PER_TOKEN:
            first, is_cut = await messages.first_message(db, run.thread_id), True
            break
    oldest = min((position for position, _ in found), default=_BEGINNING)
    since = oldest if newest is not None or position is not None else _BEGINNING
    steps_found, has_all_steps = await _steps(db, run, since, window * CHARACTERS_PER_TOKEN)
    found += steps_found
    if first is not None and first[1].id not in {entry.id for _, entry in found}:
        found.append(first)
    found.sort(key=lambda pair: pair[0])
    return found, has_all_steps and not is_cut


def _within_room(message: Message, room: int) -> tuple[Message, int]:
    """Returns the message without the data URLs that do not fit into `room` bytes, and the room that is left.

    A prompt counts an image as few tokens, however large it is, so a window holds any number of bytes.
    """
    content: list[Json] = []
    for part in message.content:
        size = len(part["image_url"]["url"]) if part["type"] == "image_url" else 0
        content.append(part if size <= room else TOO_LARGE)
        room -= size if size <= room else 0
    return (message if content == message.content else replace(message, content=content)), room


async def _steps(db: Connection, run: Run, since: PromptPosition, characters: int) -> tuple[list[Placed], bool]:
    """Returns the newest tool_calls steps from `since` on: all of the run, and others up to so many characters; and
    whether these are all.
    """
    found: list[Placed] = []
    before: int | None = None
    while len(found) < MAX_STEPS:
        page, before = await steps.tool_call_steps(db, run.thread_id, since, before, STEPS_PAGE)
        for position, step in page:
            if characters <= 0 and step.run_id != run.id:
                return found, False
            found.append((position, step))
            characters -= step_length(step)
        if before is None:
            return found, True
    return found, False
