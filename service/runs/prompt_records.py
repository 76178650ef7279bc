"""Records the request of a model call for the log: what it was rendered from, and its bytes if that may not suffice."""

from __future__ import annotations

from dataclasses import dataclass

from events.thread.events import DroppedHistory, PromptRecord, RequestRetry
from service.model.errors import to_storable
from service.model.request_journal import RequestJournal
from service.runs.history import TOO_LARGE, PromptHistory
from service.runs.images import ShownImages
from service.runs.prompt import Unit

# The version of the code that renders a request from its record: prompt.py, chat_request.py, and of service/model
# request.py with the modules that it imports. Raise it if the same history is rendered in another way.
RENDERER = 1
# Bytes of the request bodies that the events of one run keep.
MAX_KEPT_BYTES = 256 * 1024
# Failed requests that one record keeps, the newest.
MAX_RETRIES = 20


@dataclass(frozen=True, slots=True)
class FittedHistory:
    """The units of a history that a prompt has. `dropped` says which ones truncation left out, null if none.

    An output of a hosted call has at most `room` characters.
    """

    units: list[Unit]
    room: int
    dropped: DroppedHistory | None = None


def fit_to(units: list[Unit], kept: list[Unit], *, room: int, allowed: int) -> FittedHistory:
    """Returns the units that truncation kept, with the record of the others."""
    if len(kept) == len(units):
        return FittedHistory(kept, room)
    keeps_first = len(kept) > 0 and kept[0] is units[0]
    dropped = DroppedHistory(allowed=allowed, units=len(units), keeps_first=keeps_first, newest=len(kept) - keeps_first)
    return FittedHistory(kept, room, dropped)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSource:
    """The facts that a request was rendered from, apart from the log's. `images` are null if the model sees none."""

    history: PromptHistory
    fitted: FittedHistory
    briefs: list[str]
    images: ShownImages | None

    @property
    def is_in_log(self) -> bool:
        """Whether the request can be rendered again from the log and from image files."""
        if not self.history.is_whole:
            return False
        if self.images is None:
            return True
        return not self.images.has_hidden and not any(
            TOO_LARGE in getattr(entry, "content", ()) for _, entry in self.history.entries
        )


def record_prompt(journal: RequestJournal, source: PromptSource) -> PromptRecord | None:
    """Returns the record of the last request that was sent, or None if none was sent."""
    sent = journal.sent
    if sent is None:
        return None
    is_in_log = source.is_in_log
    retries = [
        RequestRetry(code=failed.code, message=to_storable(failed.message), wait_s=round(failed.wait_s, 3))
        for failed in journal.failed[-MAX_RETRIES:]
    ]
    return PromptRecord(
        renderer=RENDERER,
        sha256=sent.sha256,
        bytes=sent.size,
        version=source.history.version,
        model=sent.model,
        limit_field=sent.limit_field,
        form=sent.form,
        vision=source.images is not None,
        room=source.fitted.room,
        dropped=source.fitted.dropped,
        briefs=source.briefs,
        images={} if source.images is None else source.images.hashes,
        refused=list(sent.refused),
        body=None if is_in_log or sent.body is None else sent.body.decode(),
        is_cut=not is_in_log and sent.body is None,
        retries=retries,
    )


def kept_room(source: PromptSource, kept_bytes: int) -> int:
    """Returns the bytes of a body that may be kept, if the run's events keep `kept_bytes`; 0 if it need not be."""
    return 0 if source.is_in_log else max(0, MAX_KEPT_BYTES - kept_bytes)
