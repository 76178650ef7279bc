"""The costs of model calls: sums of tokens, priced by model and day. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from projections.usage import UsageSum
from service.prices import PriceList, cost_of

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class LineCost:
    """The cost of the input or the output of a model in US dollars, for the group of `usage`."""

    usage: UsageSum
    line_item: str
    dollars: Decimal


def line_costs(sums: Iterable[UsageSum], prices: PriceList) -> Iterator[LineCost]:
    """Yields two costs for each sum whose model has a price. The sums must be those of models and of days at most."""
    for usage in sums:
        assert usage.model is not None
        cost = cost_of(
            prices(usage.model),
            datetime.fromtimestamp(usage.start, UTC).date(),
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
        )
        if cost is not None:
            yield LineCost(usage, f"{usage.model}, input", cost.input)
            yield LineCost(usage, f"{usage.model}, output", cost.output)
