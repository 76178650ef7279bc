"""The objects of a stream that were deleted, which only some viewers may see."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, assert_never

from events import event_log
from events.envelope import RecordedEvent
from events.event_log import NO_END
from events.thread import events as e
from service.database import Pool

# Stands for the content of a message that was deleted.
DELETED_CONTENT = [{"type": "text", "text": {"value": "[deleted]", "annotations": []}}]
_NO_CONTENT: Mapping[str, Any] = {"content": DELETED_CONTENT, "attachments": []}
_DELETIONS = ("message.deleted", "thread.deleted", "assistant.deleted", "vector_store.deleted")


async def deleted_since(pool: Pool, stream_id: str, version: int, newest: int = NO_END) -> frozenset[str]:
    """Returns the ids of the objects of the stream that were deleted after `version`, its own id among them."""
    found: set[str] = set()
    more, after = True, version
    while more:
        async with pool.acquire() as db:
            page = await event_log.read_types(db, stream_id, _DELETIONS, after=after, until=newest)
        found |= {getattr(recorded.event, "message_id", stream_id) for recorded in page.recorded}
        more = page.more
        after = page.recorded[-1].version if page.recorded else newest
    return frozenset(found)


def hide_message(recorded: RecordedEvent[Any], hidden: Collection[str]) -> e.ThreadEvent:
    """Returns the event, without the content and the metadata of its message if that is hidden."""
    event: e.ThreadEvent = recorded.event
    if not isinstance(event, e.MessageEvent | e.MessageImported) or event.message_id not in hidden:
        return event
    match event:
        case e.MessageAdded():
            return event.model_copy(update={**_NO_CONTENT, "metadata": {}})
        case e.MessageWritten():
            return event.model_copy(update=_NO_CONTENT)
        case e.MessageImported(body=body):
            return event.model_copy(update={"body": {**body, **_NO_CONTENT, "metadata": {}}})
        case e.MessageModified():
            return event.model_copy(update={"metadata": {}})
        case e.MessageDeleted():
            return event
        case _:
            assert_never(event)


def hide_body(event: e.ThreadEvent) -> e.ThreadEvent:
    """Returns the event, without the request body that its record keeps."""
    prompt = getattr(event, "prompt", None)
    if prompt is None or prompt.body is None:
        return event
    return event.model_copy(update={"prompt": prompt.model_copy(update={"body": None})})
