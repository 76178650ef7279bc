"""Folds the events of one stream into the rows of its views and its state."""

from __future__ import annotations

from typing import Any

from events.envelope import RecordedEvent
from events.streams import StreamType
from projections.row_store import StreamRows
from projections.views import row_operations

# Events of a stream that are projected at once.
PROJECTED_PAGE = 1000


class CannotFold(RuntimeError):
    """The events of a stream do not lead to rows: one is missing, or they were changed."""

    def __init__(self, stream_id: str, reason: str) -> None:
        super().__init__(f"The views of the stream {stream_id} cannot be rebuilt from its events: {reason}")
        self.stream_id = stream_id


class RowFold:
    """Folds the events of one stream into its rows, up to a version. Add the events in order, then call `finish`.

    The events up to version `after` were erased, and the object of the stream was deleted with them.
    """

    def __init__(self, stream_type: StreamType[Any, Any], stream_id: str, until: int, *, after: int = 0) -> None:
        self.rows = StreamRows()
        self.version = after
        self._type = stream_type
        self._stream_id = stream_id
        self._until = until
        self._state = stream_type.initial(stream_id)
        self._before = self._state
        self._page: list[RecordedEvent[Any]] = []

    @property
    def state(self) -> Any:
        """The state of the stream after the events so far."""
        return self._state

    def add(self, recorded: RecordedEvent[Any]) -> None:
        """Adds the next event, unless its version is above the last one to fold. Raises CannotFold."""
        if recorded.version > self._until:
            return
        if recorded.version != self.version + 1:
            raise self._hole()
        self.version = recorded.version
        self._page.append(recorded)
        try:
            self._state = self._type.evolve(self._state, recorded)
        except Exception as error:
            raise self._cannot_fold(error) from error
        if len(self._page) >= PROJECTED_PAGE:
            self._project()

    def finish(self) -> StreamRows:
        """Returns the rows. Raises CannotFold."""
        if self.version < self._until:
            raise self._hole()
        self._project()
        return self.rows

    def _project(self) -> None:
        try:
            self.rows.apply(row_operations(self._type, self._page, self._before))
        except Exception as error:
            raise self._cannot_fold(error) from error
        self._page, self._before = [], self._state

    def _cannot_fold(self, error: Exception) -> CannotFold:
        reason = str(error) or type(error).__name__
        return CannotFold(self._stream_id, f"at version {self.version}: {reason}")

    def _hole(self) -> CannotFold:
        return CannotFold(self._stream_id, f"it has no event {self.version + 1}, and its head says {self._until}")
