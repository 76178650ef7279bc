"""Writes dates, times and durations as Excel shows them, by number formats.

Names of months and days are English. A date in the short format of the reader's own country is written as ISO 8601.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from service.search.parse.format_sections import Token, sections_of

DateLike = datetime.date | datetime.time | datetime.timedelta
_LOCAL = frozenset(
    ("", "General", "mm-dd-yy", "m/d/yy", "m/d/yyyy", "mm/dd/yy", "mm/dd/yyyy", "m/d/yy h:mm", "m/d/yyyy h:mm")
)
# Day 0 of durations and times, and of serial numbers of days. Dates of workbooks have no time zone.
_ZERO = datetime.datetime(1899, 12, 31)  # noqa: DTZ001
_SERIAL_ZERO = datetime.datetime(1899, 12, 30)  # noqa: DTZ001


def format_date(value: DateLike, number_format: str) -> str:
    """Returns the text that Excel shows for a date, a time of day or a duration."""
    if number_format in _LOCAL:
        return _iso(value)
    section = sections_of(number_format)[0]
    if not section.has("date", "elapsed"):
        return _iso(value)
    return " ".join(_DateWriter(value, section.tokens).text().split())


def _iso(value: DateLike) -> str:
    if isinstance(value, datetime.datetime):
        has_time = value.time().replace(microsecond=0) != datetime.time()
        return value.isoformat(" ", "minutes" if value.second == 0 else "seconds") if has_time else str(value.date())
    return str(value)


class _DateWriter:
    """Writes a date, a time of day or a duration by the tokens of a format."""

    def __init__(self, value: DateLike, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._has_noon = any(kind == "noon" for kind, _ in tokens)
        match value:
            case datetime.datetime():
                self._at, self._total = value, value - _SERIAL_ZERO
            case datetime.date():
                self._at = datetime.datetime.combine(value, datetime.time())
                self._total = self._at - _SERIAL_ZERO
            case datetime.time():
                self._at = datetime.datetime.combine(_ZERO, value)
                self._total = self._at - _ZERO
            case _:
                self._total = value
                self._at = _ZERO + value % datetime.timedelta(days=1)

    def text(self) -> str:
        return "".join(self._piece(at, kind, text) for at, (kind, text) in enumerate(self._tokens))

    def _piece(self, at: int, kind: str, text: str) -> str:
        match kind:
            case "date":
                return self._date_piece(at, text.lower())
            case "elapsed":
                unit = {"h": 3600, "m": 60, "s": 1}[text[0].lower()]
                return f"{int(self._total.total_seconds() // unit):0{len(text)}}"
            case "noon":
                return ("AM" if self._at.hour < 12 else "PM")[: 1 if len(text) == 3 else 2]
            case "fraction":
                return f".{self._at.microsecond:06}"[: len(text)]
            case "general" | "exponent":
                return ""
            case _:
                return "" if text == "@" else text

    def _date_piece(self, at: int, text: str) -> str:
        size, moment = len(text), self._at
        match text[0]:
            case "y" | "e":
                return f"{moment.year % 100:02}" if size <= 2 and text[0] == "y" else f"{moment.year:04}"
            case "m" if self._is_minute(at):
                return f"{moment.minute:0{min(size, 2)}}"
            case "m" if size <= 2:
                return f"{moment.month:0{size}}"
            case "m":
                name = moment.strftime("%B")
                return name[:3] if size == 3 else name[:1] if size == 5 else name
            case "d" if size <= 2:
                return f"{moment.day:0{size}}"
            case "d":
                return moment.strftime("%a" if size == 3 else "%A")
            case "h":
                hour = (moment.hour % 12 or 12) if self._has_noon else moment.hour
                return f"{hour:0{min(size, 2)}}"
            case "s":
                return f"{moment.second:0{min(size, 2)}}"
            case _:
                return ""

    def _is_minute(self, at: int) -> bool:
        """Whether the m at this place follows hours or stands before seconds."""
        kinds = ("date", "elapsed")
        units = [(index, text[0].lower()) for index, (kind, text) in enumerate(self._tokens) if kind in kinds]
        place = next(number for number, (index, _) in enumerate(units) if index == at)
        return (place > 0 and units[place - 1][1] == "h") or (place + 1 < len(units) and units[place + 1][1] == "s")
