"""Events of deleted messages, as those see them who may not read deleted contents."""

from __future__ import annotations

from events.objects import Message
from events.thread.commands import ImportThread, ModifyMessage
from service.replay.deletions import hide_message
from tests.events.thread.story import Story

SECRET = "Zoë is divorced"


def test_no_event_of_a_hidden_message_shows_its_texts() -> None:
    content = [{"type": "text", "text": {"value": SECRET, "annotations": []}}]
    message = Message("msg_1", "thread_1", 1, "user", content, [{"file_id": SECRET}], {"name": SECRET}, ended_at=1)
    story = Story()
    story.do(ImportThread(metadata={}, tool_resources={}, origin=None, objects=[message]))
    story.do(ModifyMessage("msg_1", exists=True, metadata={"name": SECRET}))
    imported, changed = story.log[1:]
    shown = [hide_message(recorded, {"msg_1"}) for recorded in (imported, changed)]
    assert SECRET not in "".join(repr(event) for event in shown)
    assert [hide_message(recorded, {"msg_2"}) for recorded in story.log] == [recorded.event for recorded in story.log]
