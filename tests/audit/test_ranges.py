"""The order in which appends come into the log."""

from __future__ import annotations

from datetime import UTC, datetime

from service.audit.ranges import LogRange, PendingAppend, order_appends

AT = datetime(2026, 11, 28, tzinfo=UTC)


def pending(stream_id: str, first_version: int, count: int = 1, leaves: bytes | None = None) -> PendingAppend:
    return PendingAppend(
        at=AT,
        stream_id=stream_id,
        first_version=first_version,
        project_id="proj_1",
        actor="cli",
        request_id=None,
        types=["message.added"] * count,
        leaves=bytes(32 * count) if leaves is None else leaves,
    )


def test_appends_get_the_next_indexes_in_their_order() -> None:
    a, b, c = pending("a", 1, 2), pending("b", 4), pending("a", 3)
    order = order_appends(10, {"b": 3}, [a, b, c])
    assert order.ranges == [LogRange(10, a), LogRange(12, b), LogRange(13, c)]
    assert (order.sealed, order.held) == ([], [])


def test_appends_that_the_log_has_are_skipped() -> None:
    a, b = pending("a", 1, 2), pending("a", 3)
    order = order_appends(5, {"a": 2}, [a, b])
    assert (order.sealed, order.ranges) == ([a], [LogRange(5, b)])


def test_an_append_waits_for_earlier_versions() -> None:
    later = pending("a", 3)
    order = order_appends(0, {"a": 1}, [later, pending("b", 1)])
    assert (order.held, [entry.append.stream_id for entry in order.ranges]) == ([later], ["b"])


def test_versions_are_in_order_although_times_are_not() -> None:
    third, first, second = pending("a", 3), pending("a", 1), pending("a", 2)
    order = order_appends(0, {}, [third, first, second])
    assert [entry.append for entry in order.ranges] == [first, second, third]
    assert order.held == []


def test_a_row_with_other_leaves_than_events_is_held() -> None:
    torn, empty = pending("a", 1, 2, leaves=bytes(32)), pending("b", 1, 0)
    assert order_appends(0, {}, [torn, empty]).held == [torn, empty]


def test_two_rows_for_the_same_events_are_one_range() -> None:
    first, again = pending("a", 1), pending("a", 1)
    order = order_appends(0, {}, [first, again])
    assert (len(order.ranges), order.sealed) == (1, [again])
    order = order_appends(0, {}, [pending("a", 2), pending("a", 2)])
    assert len(order.held) == 2
