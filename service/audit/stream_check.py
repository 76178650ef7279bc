"""Checks the events of a stream against each other, against the log and against the stream's head. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson

from events import codec, leaves
from events.actors import parse_actor
from events.envelope import RecordedEvent
from events.leaves import SALT_BYTES, StoredEvent
from events.streams import STREAM_TYPES
from projections.erasures import DELETIONS
from projections.row_store import StreamRows
from projections.views import row_operations
from service.audit.faults import Fault
from service.audit.ranges import LEAF_BYTES, PendingAppend
from sql.row_operations import RowOperation
from sql.seals import is_sealed, key_id_of

# Missing events that a gap reports one by one.
MAX_MISSING = 100
# Events of a stream that are projected at once.
PAGE = 1000

Row = Mapping[str, Any]
_NOT_LOGGED: tuple[None, None] = (None, None)


class StreamCheck:
    """The check of one stream. Call `add` with the rows of its events in order, and then `finish`.

    `head` is the row of the stream. `sequenced` are its ranges in the log, and the appends that wait for theirs;
    `sealed` are rows of log_pending that the log has already and that are not deleted yet. The check folds the events
    into `rows`, those of the views.
    """

    def __init__(self, head: Row, sequenced: Iterable[PendingAppend], sealed: Iterable[PendingAppend] = ()) -> None:
        self.stream_id: str = head["stream_id"]
        self.faults: list[Fault] = []
        self.events = 0
        # Whether the key of the stream was destroyed: then the contents, the state and the views cannot be checked.
        self.is_erased = False
        # The ids of the destroyed keys, in hexadecimal digits.
        self.erased_keys: set[str] = set()
        self._head = head
        self.rows = StreamRows()
        self.stream_type = self._type = STREAM_TYPES.get(head["kind"])
        sequenced = list(sequenced)
        self._times = {append.first_version: append.at for append in sequenced}
        self._logged = {
            append.first_version + place: (append, append.leaves[place * LEAF_BYTES : (place + 1) * LEAF_BYTES])
            for append in sequenced
            for place in range(append.count)
        }
        self._last_logged = max((append.last_version for append in sequenced if append.count), default=0)
        self._version = 0
        # The leaves that the next event may follow: the stored one, and that in the log. A difference is a fault of its
        # own.
        self._previous: tuple[bytes, ...] = (leaves.NO_LEAF,)
        self._last: StoredEvent | None = None
        self._hasher = leaves.LeafHasher()
        # The newest time of the events so far.
        self._latest: datetime | None = None
        self._project_id: str | None = None
        self._state: Any = None
        self._page: list[RecordedEvent[Any]] = []
        self._check_ranges(sequenced)
        self._check_sealed(sealed)
        if self._type is None:
            self._report(None, f"the head names an unknown kind: {head['kind']}")
        else:
            self._state = self._type.initial(self.stream_id)

    @property
    def has_faults(self) -> bool:
        return bool(self.faults)

    @property
    def is_deleted(self) -> bool:
        """Whether the stream ends with the deletion of its object."""
        return self._last is not None and self._last.type in DELETIONS

    def deletion_operations(self) -> list[RowOperation]:
        """Returns the operations on rows of the deletion that the stream ends with (`is_deleted`).

        Its content may be erased. It has nothing but its type, which the envelope has too.
        """
        assert self._last is not None
        assert self._type is not None
        content = orjson.dumps({"type": self._last.type})
        return row_operations(self._type, [_record(self._last, content)], self._type.initial(self.stream_id))

    def add(self, event: StoredEvent) -> None:
        """Checks the next event."""
        version, leaf = event.version, event.leaf
        self.events += 1
        if self._last is not None and version == self._version:
            self._report(version, "the event is in its table twice")
            return
        if version != self._version + 1:
            for missing in range(self._version + 1, min(version, self._version + 1 + MAX_MISSING)):
                self._report(missing, "the event was removed")
            self._previous = (self._logged_leaf(version - 1) or leaves.NO_LEAF,)
        append, logged = self._logged.get(version, _NOT_LOGGED)
        text = self._find_fault(event, append, logged)
        if text is not None:
            self._report(version, text)
        self._previous = (leaf,) if logged is None or logged == leaf else (leaf, logged)
        self._version, self._last = version, event
        if event.at.tzinfo is not None and (self._latest is None or event.at > self._latest):
            self._latest = event.at
        self._project_id = self._project_id or event.project_id
        if is_sealed(event.content):
            self.is_erased = True
            self.erased_keys.add(key_id_of(event.content))
        if self._type is not None and not self.faults and not self.is_erased:
            self._fold(event)

    def finish(self) -> None:
        """Checks the end of the stream, its head and its state."""
        if not self.has_faults and not self.is_erased:
            self._project()
        head, last = self._head, self._version
        logged = self._last_logged
        if logged > last:
            self._report(last + 1, f"the stream was truncated: the log has its versions up to {logged}")
        elif head["version"] > last:
            self._report(last + 1, f"the stream was truncated: its head is at version {head['version']}")
        if head["version"] < last:
            self._report(head["version"] + 1, "the event was inserted after the head, or the head was moved back")
        if self._last is None and not self.has_faults:
            self._report(None, "the head has no events: it was inserted")
        if self._last is None or self.has_faults:
            return
        if head["leaf"] != self._last.leaf:
            self._report(last, "the leaf of the head is not that of the last event")
        if head["project_id"] != self._project_id or head["at"] != self._last.at:
            self._report(last, "the head has another project or time than the events")
        if not self.is_erased:
            self._check_state()

    def _check_state(self) -> None:
        """Compares the state of the head, unless older software wrote it: then no process uses it."""
        head, stream_type = self._head, self._type
        if stream_type is None or head["state_schema"] < stream_type.state_schema:
            return
        if head["state_schema"] > stream_type.state_schema:
            self._report(self._version, "newer software wrote the state of the head, or its schema was changed")
            return
        if head["state"] == stream_type.adapter.dump_json(self._state):
            return
        try:
            is_same = stream_type.adapter.validate_json(head["state"]) == self._state
        except ValueError:
            is_same = False
        if not is_same:
            self._report(self._version, "the state of the head is not that of the events")

    def _check_ranges(self, sequenced: Iterable[PendingAppend]) -> None:
        end = 0
        for append in sorted(sequenced, key=lambda append: append.first_version):
            if not append.is_whole:
                self._report(append.first_version, "the log's range was changed: it has other types than leaves")
            if append.first_version <= end:
                self._report(append.first_version, "the log has the event twice, or a range for a version below 1")
            end = max(end, append.last_version)

    def _check_sealed(self, sealed: Iterable[PendingAppend]) -> None:
        for append in sealed:
            for place in range(append.count):
                leaf = append.leaves[place * LEAF_BYTES : (place + 1) * LEAF_BYTES]
                if self._logged_leaf(append.first_version + place) != leaf:
                    text = "the event waits in log_pending with another leaf than the log has"
                    self._report(append.first_version + place, text)

    def _logged_leaf(self, version: int) -> bytes | None:
        found = self._logged.get(version)
        return None if found is None else found[1]

    def _find_fault(self, event: StoredEvent, append: PendingAppend | None, logged: bytes | None) -> str | None:
        """Returns the fault of an event; None if it is the one that the log has as `logged`, by `append`."""
        version, leaf, previous = event.version, event.leaf, self._previous
        if logged is not None and leaf != logged:
            other = next((at for at, (_, found) in self._logged.items() if found == leaf), None)
            if other is not None:
                return f"the events were reordered: this is version {other} of the log"
        if not is_sealed(event.content) and leaves.commit(event.content) != event.commitment:
            return "the content was changed"
        if self._hash_leaf(event, previous[0]) != leaf and (
            len(previous) == 1 or self._hash_leaf(event, previous[1]) != leaf
        ):
            return "the envelope was changed, or the event was moved, inserted or replaced"
        if append is None or logged is None:
            return "the event was never sequenced: the log does not have it, and it does not wait for it"
        if leaf != logged:
            return "the event was replaced: the log has another one at this version"
        place = version - append.first_version
        if (
            place >= len(append.types)
            or append.types[place] != event.type
            or append.project_id != event.project_id
            or append.actor != event.actor
            or append.request_id != event.request_id
        ):
            return "the columns of the log's range are not those of the event"
        if place == 0 and append.at != event.at and not self._is_time_of(append, event.at):
            return "the time of the log's range is not that of the event"
        return None

    def _hash_leaf(self, event: StoredEvent, previous: bytes) -> bytes | None:
        """Returns the leaf of an event; None if its columns cannot be those of an event."""
        try:
            return self._hasher.hash(event, previous)
        except (ValueError, TypeError):  # a TypeError: the time is infinite, which is a time without a zone in Python
            return None

    def _is_time_of(self, append: PendingAppend, at: datetime) -> bool:
        """Says if an append whose first event is of the time `at` can have its time.

        The times of appends follow those of earlier events, if the clocks of the writers did not. A row that the
        sequencer added for an event without one has the time of the append that waited for it.
        """
        earlier = [None if self._last is None else self._last.at, self._latest]
        if append.at in {at, *(max(at, time) for time in earlier if time is not None and time.tzinfo is not None)}:
            return True
        return append.count == 1 and append.at == self._times.get(append.last_version + 1)

    def _fold(self, event: StoredEvent) -> None:
        assert self._type is not None
        try:
            recorded = _record(event, event.content[SALT_BYTES:])
            if not self._page:
                self._before = self._state
            self._state = self._type.evolve(self._state, recorded)
        except Exception as error:  # noqa: BLE001 - a changed event can break any assumption
            self._report(event.version, f"the event cannot be folded: {type(error).__name__}")
            return
        self._page.append(recorded)
        if len(self._page) >= PAGE:
            self._project()

    def _project(self) -> None:
        if not self._page or self._type is None:
            return
        page, self._page = self._page, []
        try:
            self.rows.apply(row_operations(self._type, page, self._before))
        except Exception as error:  # noqa: BLE001 - a changed event can break any assumption
            self._report(page[0].version, f"the events cannot be projected: {type(error).__name__}")

    def _report(self, version: int | None, text: str) -> None:
        self.faults.append(Fault(self.stream_id, version, text))


def _record(event: StoredEvent, content: bytes) -> RecordedEvent[Any]:
    return RecordedEvent(
        stream_id=event.stream_id,
        version=event.version,
        at=event.at,
        event=codec.load(content, event.schema_version),
        project_id=event.project_id,
        actor=parse_actor(event.actor),
        request_id=event.request_id,
        cause=event.cause,
        client=event.client,
    )
