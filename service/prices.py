"""Prices of models, from the models file: US dollars for a million tokens, from a date on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model from the day `since` on (UTC), in US dollars for a million tokens."""

    since: date
    input: Decimal
    cached_input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost in US dollars. `input` contains the price of cached tokens."""

    input: Decimal
    output: Decimal


# Returns the prices of a model by the name that clients use, in the order of their days; empty if it has none.
PriceList = Callable[[str], Sequence[Price]]


def cost_of(
    prices: Sequence[Price], day: date, *, input_tokens: int, cached_tokens: int, output_tokens: int
) -> Cost | None:
    """Returns the cost of tokens used on a day, or None if no price is known for it."""
    price = next((price for price in reversed(prices) if price.since <= day), None)
    if price is None:
        return None
    fresh = input_tokens - cached_tokens
    return Cost(
        input=(fresh * price.input + cached_tokens * price.cached_input) / _MILLION,
        output=output_tokens * price.output / _MILLION,
    )
