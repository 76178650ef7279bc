"""Writes values of cells as Excel shows them, by number formats (ECMA-376 part 1, 18.8.31)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from math import isfinite

from service.search.parse.date_formats import format_date
from service.search.parse.format_sections import Section, Token, sections_of

MAX_PLACES = 30  # digits after the point
MAX_DENOMINATOR_DIGITS = 4
GENERAL_DIGITS = 11
_DIGITS = frozenset("0#?")


def format_cell(value: object, number_format: str) -> str:
    """Returns the text that Excel shows for a value of a cell; an empty text for None."""
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case str():
            return _format_text(value, number_format)
        case int() | float():
            return _format_number(value, number_format)
        case datetime.date() | datetime.time() | datetime.timedelta():
            return format_date(value, number_format)
        case _:
            return str(value)


def _format_text(value: str, number_format: str) -> str:
    if "@" not in number_format or number_format == "@":
        return value
    sections = sections_of(number_format)
    tokens = sections[min(len(sections), 4) - 1].tokens
    if ("other", "@") not in tokens:
        return value
    return "".join(value if token == ("other", "@") else token[1] for token in tokens if token[0] != "general").strip()


def _general(value: float) -> str:
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return str(int(value))
    text = f"{value:.{GENERAL_DIGITS}g}"
    return text.replace("e", "E")


def _format_number(value: float, number_format: str) -> str:
    if number_format in ("", "General", "@") or not isfinite(value):
        return _general(value)
    section, magnitude = _choose(sections_of(number_format), value)
    if section.has("general") or section.has("date", "elapsed"):
        number = _general(magnitude)
        pieces = (number if kind == "general" else text if kind == "literal" else "" for kind, text in section.tokens)
        return "".join(pieces).strip() if section.has("general") else _general(value)
    try:
        text = _render_number(section.tokens, Decimal(repr(magnitude)))
    except (InvalidOperation, OverflowError, ValueError):
        return _general(value)
    return " ".join(text.split())


def _choose(sections: Sequence[Section], value: float) -> tuple[Section, float]:
    """Returns the section for a value, and the value without its sign if the section writes the sign itself."""
    if any(section.condition for section in sections):
        for section in sections:
            if section.condition is None or _holds(section.condition, value):
                return section, value
        return sections[-1], value
    if len(sections) == 1 or value > 0:
        return sections[0], value
    if value == 0:
        return sections[2] if len(sections) > 2 else sections[0], value
    return sections[1], -value


def _holds(condition: tuple[str, float], value: float) -> bool:
    sign, bound = condition
    return (
        ("<" in sign and value < bound and sign != "<>")
        or (">" in sign and value > bound and sign != "<>")
        or ("=" in sign and value == bound)
        or (sign == "<>" and value != bound)
    )


def _render_number(tokens: Sequence[Token], value: Decimal) -> str:
    """Returns the number with the literal texts of its format, also those between its digits."""
    places = [at for at, token in enumerate(tokens) if token[0] == "other" and token[1] in _DIGITS]
    if not places:
        return ("-" if value < 0 else "") + "".join(text for _, text in tokens if text != "@")
    if ("other", "/") in tokens and ("other", ".") not in tokens:
        return _render_fraction(tokens, value)
    first, last = places[0], places[-1]
    if first and tokens[first - 1] == ("other", "."):
        first -= 1  # such as .00
    percents = sum(1 for token in tokens if token == ("other", "%"))
    scale, end = 0, last + 1
    while end < len(tokens) and tokens[end] == ("other", ","):
        scale, end = scale + 1, end + 1
    value = value * 100**percents / 1000**scale
    core = list(tokens[first : end - scale])
    exponent = next((at for at, token in enumerate(core) if token[0] == "exponent"), None)
    before, after = "".join(t for _, t in tokens[:first]), "".join(t for _, t in tokens[end:])
    if exponent is not None:
        decimals = _digit_count(_after_point(core[:exponent]))
        width = max(1, _digit_count(core[exponent:]))
        mantissa, _, power = f"{value:.{min(decimals, MAX_PLACES)}E}".partition("E")
        sign = "-" if int(power) < 0 else "+" if core[exponent][1].endswith("+") else ""
        return f"{before}{mantissa}E{sign}{abs(int(power)):0{width}}{after}"
    point = next((at for at, token in enumerate(core) if token == ("other", ".")), None)
    whole = core if point is None else core[:point]
    rest = [] if point is None else core[point + 1 :]
    decimals = min(_digit_count(rest), MAX_PLACES)
    rounded = abs(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP) if abs(value) < 10**15 else abs(value)
    digits, _, fraction = f"{rounded:f}".partition(".")
    fraction = fraction[:decimals].ljust(decimals, "0")
    sign = "-" if value < 0 and rounded else ""
    return f"{sign}{before}{_whole_digits(whole, digits)}{_fraction_digits(rest, fraction)}{after}"


def _digit_count(tokens: Sequence[Token]) -> int:
    return sum(1 for kind, text in tokens if kind == "other" and text in _DIGITS)


def _after_point(tokens: Sequence[Token]) -> Sequence[Token]:
    return tokens[tokens.index(("other", ".")) + 1 :] if ("other", ".") in tokens else ()


def _whole_digits(tokens: Sequence[Token], digits: str) -> str:
    """Returns the digits before the point, from the right, with the literals at their places and commas."""
    has_commas = ("other", ",") in tokens
    left = list(digits.lstrip("0"))
    found: list[str] = []
    written = 0

    def write(digit: str) -> None:
        nonlocal written
        if has_commas and written and written % 3 == 0:
            found.append(",")
        found.append(digit)
        written += 1

    placeholders = _digit_count(tokens)
    if not placeholders:
        return "".join(left)
    for kind, text in reversed(tokens):
        if kind == "other" and text in _DIGITS:
            placeholders -= 1
            if left:
                write(left.pop())
            elif text == "0":
                write("0")
            if placeholders == 0:
                while left:
                    write(left.pop())
        elif text != ",":
            found.append(text)
    return "".join(reversed(found))


def _fraction_digits(tokens: Sequence[Token], fraction: str) -> str:
    """Returns the point and the digits after it, without the zeros that # leaves out."""
    kept = len(fraction)
    for text in reversed([text for kind, text in tokens if kind == "other" and text in _DIGITS]):
        if text == "#" and kept and fraction[kept - 1] == "0":
            kept -= 1
        else:
            break
    found, at = "", 0
    for kind, text in tokens:
        if kind == "other" and text in _DIGITS:
            found += fraction[at] if at < kept else ""
            at += 1
        else:
            found += text
    return f".{found}" if kept else found


def _render_fraction(tokens: Sequence[Token], value: Decimal) -> str:
    slash = tokens.index(("other", "/"))
    fixed = "".join(text for _, text in tokens[slash + 1 :] if text.isdigit())
    digits = min(max(1, _digit_count(tokens[slash + 1 :])), MAX_DENOMINATOR_DIGITS)
    exact = abs(Fraction(value))
    if fixed.strip("0"):
        bottom = int(fixed[:MAX_DENOMINATOR_DIGITS])
        top = round(exact * bottom)
    else:
        near = exact.limit_denominator(10**digits - 1)
        top, bottom = near.numerator, near.denominator
    has_whole = ("other", " ") in tokens[:slash]
    whole, top = divmod(top, bottom) if has_whole else (0, top)
    parts = [str(whole)] if whole or (has_whole and not top) else []
    parts += [f"{top}/{bottom}"] if top or not has_whole else []
    return ("-" if value < 0 else "") + " ".join(parts)
