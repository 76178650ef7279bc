"""Parses `at`, the point in the past as of which a request reads (docs/replay.md, "Points in time")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation

from events.errors import Rejection
from service.wire.validation_errors import MAX_ECHO

# The parameter of a request.
AT = "at"
# The least integer that is a time in Unix seconds (in 2001). Smaller integers are versions of a stream.
FIRST_SECONDS = 10**9
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
# RFC 3339, section 5.6. A plus sign that a URL does not escape arrives as a space.
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+\- ])([0-9]{2}):([0-9]{2}))"
)
_MAX_LENGTH = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds from the epoch to the first and the last second of a datetime: the years 1 to 9999.
_MIN_SECONDS, _MAX_SECONDS = -62_135_596_800, 253_402_300_799


@dataclass(frozen=True, slots=True)
class StreamVersion:
    """The stream after its event of this version."""

    version: int

    def __str__(self) -> str:
        return f"version {self.version}"


@dataclass(frozen=True, slots=True)
class Moment:
    """The stream after its last event at or before a time."""

    at: datetime

    def __str__(self) -> str:
        return format_time(self.at)


AsOf = StreamVersion | Moment


def parse_as_of(given: str) -> AsOf:
    """Returns the point that `at` names: an integer below FIRST_SECONDS is a version, another number is a time in Unix
    seconds, and other texts are times as in RFC 3339. Raises Rejection for any other text.
    """
    if len(given) <= _MAX_LENGTH and given.isascii():
        if _INTEGER.fullmatch(given) and int(given) < FIRST_SECONDS:
            return StreamVersion(int(given))
        if _NUMBER.fullmatch(given):
            return Moment(_parse_seconds(given))
        if found := _TIME.fullmatch(given):
            return Moment(_parse_time(given, found))
    raise _invalid(given)


def parse_moment(given: str) -> Moment:
    """Returns the point that `at` names for a list of several streams. Raises Rejection if it is a version."""
    found = parse_as_of(given)
    if isinstance(found, StreamVersion):
        message = (
            f"Invalid 'at': '{given[:MAX_ECHO]}' is a version, and each object of this list has versions of its own."
            " Write a time: Unix seconds, or RFC 3339 such as 2026-11-28T12:00:00Z."
        )
        raise Rejection(message, param="at", code="invalid_value")
    return found


def format_time(at: datetime) -> str:
    """Returns a time as RFC 3339 in UTC, with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _parse_seconds(given: str) -> datetime:
    """Returns a time in Unix seconds; fractions of a microsecond are cut off."""
    try:
        seconds = Decimal(given)
    except InvalidOperation:
        raise _invalid(given) from None
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise _invalid(given)
    return _EPOCH + timedelta(microseconds=int(seconds.scaleb(6).to_integral_value(rounding="ROUND_FLOOR")))


def _parse_time(given: str, found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second = (int(found[group]) for group in range(1, 7))
    fraction = int((found[7] or "")[:6].ljust(6, "0"))
    is_leap_second = second == 60
    try:
        offset = timedelta(0)
        if found[8] is not None:
            if int(found[10]) > 59:
                raise _invalid(given)
            offset = timedelta(hours=int(found[9]), minutes=int(found[10])) * (-1 if found[8] == "-" else 1)
        whole = datetime(year, month, day, hour, minute, second - is_leap_second, fraction, timezone(offset))
        return (whole + timedelta(seconds=is_leap_second)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _invalid(given) from None


def _invalid(given: str) -> Rejection:
    message = (
        f"Invalid 'at': '{given[:MAX_ECHO]}' is neither a version (an integer below {FIRST_SECONDS}), nor Unix seconds,"
        " nor a time as in RFC 3339 such as 2026-11-28T12:00:00Z."
    )
    return Rejection(message, param="at", code="invalid_value")
