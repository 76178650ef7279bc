"""`at` names a version, a time in Unix seconds, or a time as in RFC 3339; anything else is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from events.errors import Rejection
from service.wire.as_of import AsOf, Moment, StreamVersion, parse_as_of, parse_moment

T = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("0", StreamVersion(0)),
        ("7", StreamVersion(7)),
        ("-1", StreamVersion(-1)),
        ("999999999", StreamVersion(999_999_999)),
        ("1000000000", Moment(datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC))),
        ("1795867200", Moment(T)),
        ("1795867200.5", Moment(T.replace(microsecond=500_000))),
        ("1795867200.1234567", Moment(T.replace(microsecond=123_456))),
        ("17958672e2", Moment(T)),
        ("5.0", Moment(datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC))),
        ("-1.5", Moment(datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC))),
        ("1e-9999", Moment(datetime(1970, 1, 1, tzinfo=UTC))),
        ("2026-11-28T12:00:00Z", Moment(T)),
        ("2026-11-28t12:00:00z", Moment(T)),
        ("2026-11-28 12:00:00Z", Moment(T)),
        ("2026-11-28T13:30:00.000001+01:30", Moment(T.replace(microsecond=1))),
        ("2026-11-28T13:30:00 01:30", Moment(T)),
        ("2026-11-28T10:00:00.25-02:00", Moment(T.replace(microsecond=250_000))),
        ("2026-11-28T12:00:00.123456789Z", Moment(T.replace(microsecond=123_456))),
        ("2026-11-28T11:59:60Z", Moment(T)),
    ],
)
def test_points(given: str, found: AsOf) -> None:
    assert parse_as_of(given) == found


@pytest.mark.parametrize(
    "given",
    [
        "",
        " 7",
        "+-7",
        "1_000",
        "٣",
        "nan",
        "inf",
        "1e400",
        "0x10",
        "253402300800",
        "-62135596801.5",
        "now",
        "2026-11-28",
        "2026-11-28T12:00Z",
        "2026-11-28T12:00:00",
        "2026-13-28T12:00:00Z",
        "2026-11-31T12:00:00Z",
        "2026-11-28T25:00:00Z",
        "2026-11-28T12:00:61Z",
        "2026-11-28T12:00:00+25:00",
        "2026-11-28T12:00:00+01:60",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:60Z",
        "2026-11-28T12:00:00.Z",
        "2026-11-28T12:00:00Z ",
        "7\n",
        "9" * 10_000,
    ],
)
def test_other_texts_are_refused(given: str) -> None:
    with pytest.raises(Rejection) as refused:
        parse_as_of(given)
    assert (refused.value.param, refused.value.code) == ("at", "invalid_value")
    assert len(refused.value.message) < 400


def test_a_list_of_several_streams_takes_a_time_only() -> None:
    assert parse_moment("1795867200") == Moment(T)
    with pytest.raises(Rejection, match="is a version"):
        parse_moment("7")
