"""The folded state of a stream: that of its head, or one folded from its events."""

from __future__ import annotations

from events import event_log
from events.streams import C, S, StreamType
from projections.erasures import erased_version
from sql.connection import Connection


async def load_state(db: Connection, stream_type: StreamType[S, C], stream_id: str, head: event_log.Head) -> S:
    """Returns the folded state: that of the head if its schema is the current one, else one folded from the events.

    Raises RuntimeError if newer software wrote the state, since this process must not touch such a stream.
    """
    if head.version == 0:
        return stream_type.initial(stream_id)
    if head.state_schema > stream_type.state_schema:
        raise RuntimeError(f"{stream_id} was written by newer software (state schema {head.state_schema})")
    if head.state_schema == stream_type.state_schema:
        return stream_type.adapter.validate_json(head.state)
    return await fold(db, stream_type, stream_id)


async def fold(db: Connection, stream_type: StreamType[S, C], stream_id: str) -> S:
    """Returns the state of a stream, folded from all its events that were not erased, page by page."""
    state, version = stream_type.initial(stream_id), await erased_version(db, stream_id)
    while page := await event_log.read(db, stream_id, after=version):
        for recorded in page:
            state = stream_type.evolve(state, recorded)
        version = page[-1].version
    return state
