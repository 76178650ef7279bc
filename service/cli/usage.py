"""The command `everthread usage`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from service.cli import logs
from service.cli.keys import DataDirOption, run, say
from service.cli.show import printable
from service.errors import CommandError
from service.settings import Settings
from service.system import SystemClock

if TYPE_CHECKING:
    from events.objects import Run
    from projections.usage import Group, UsageFilter, UsageSum
    from service.prices import PriceList
    from sql.connection import Connection

DEFAULT_DAYS = 30
# Characters of a label in the table: a value of metadata has up to 512.
MAX_LABEL = 512
_METADATA = "metadata:"
_UNKNOWN = "–"


@dataclass(slots=True)
class UsageRow:
    """A row of the table. `dollars` is the cost of calls whose model has a price; `unpriced` counts the others."""

    label: str
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    dollars: Decimal = Decimal(0)
    unpriced: int = 0


def usage(
    by: Annotated[str, typer.Option(help="day, model, project, key, assistant, or metadata:KEY of runs")] = "day",
    since: Annotated[str | None, typer.Option(help="A date, or a time with zone; default: 30 days ago")] = None,
    until: Annotated[str | None, typer.Option(help="The end, not included, in the same forms; default: now")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project, by its id or name")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Show the tokens and costs of model calls. Prices are those of the file EVERTHREAD_MODELS."""
    groups = parse_grouping(by)

    async def work() -> None:
        from projections.usage import UsageFilter
        from service.cli import admin
        from service.cli.thread_deletion import parse_time
        from service.database import open_pool
        from service.usage.follower import catch_up_usage

        now = SystemClock().now()
        start = now - timedelta(days=DEFAULT_DAYS) if since is None else parse_time(since, "--since")
        end = now if until is None else parse_time(until, "--until")
        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        prices = load_prices(settings)
        async with admin.open_database(settings) as url:
            pool = await open_pool(url)
            try:
                projects = None if project is None else (await admin.project_id_of(pool, project),)
                async with pool.acquire() as db:
                    await catch_up_usage(db)
                    only = UsageFilter(since=start, until=end, projects=projects)
                    rows = await _collect(db, only, groups, prices)
            finally:
                pool.terminate()
        _print_json(rows) if as_json else _print_table(by, rows)

    run(work())


@dataclass(frozen=True, slots=True)
class RowGroups:
    """How calls become rows: the groups to ask for, and the label of a sum. `metadata_key` is that of runs."""

    groups: Sequence[Group]
    label: Callable[[UsageSum], str]
    metadata_key: str | None = None


def parse_grouping(by: str) -> RowGroups:
    """Raises CommandError if there is no such grouping."""
    if by.startswith(_METADATA) and len(by) > len(_METADATA):
        return RowGroups(("run_id", "model"), lambda _: "", by.removeprefix(_METADATA))
    groupings = {
        "day": RowGroups(("model",), lambda found: f"{datetime.fromtimestamp(found.start, UTC):%Y-%m-%d}"),
        "model": RowGroups(("model",), lambda found: found.model or _UNKNOWN),
        "project": RowGroups(("project_id", "model"), lambda found: found.project_id or _UNKNOWN),
        "key": RowGroups(("api_key_id", "model"), lambda found: found.key_id or _UNKNOWN),
        "assistant": RowGroups(("assistant_id", "model"), lambda found: found.assistant_id or _UNKNOWN),
    }
    if by not in groupings:
        raise CommandError(f"--by: must be {', '.join(groupings)} or {_METADATA}KEY")
    return groupings[by]


def load_prices(settings: Settings) -> PriceList:
    """Returns the prices of the models file, or none if there is no file. Raises CommandError if it is invalid."""
    from service.model import catalog

    if settings.models is None:
        return lambda _: ()
    try:
        return catalog.load_prices(settings.models)
    except catalog.CatalogError as error:
        raise CommandError(str(error)) from None


async def _collect(db: Connection, only: UsageFilter, groups: RowGroups, prices: PriceList) -> list[UsageRow]:
    from projections import runs, usage
    from service.usage.costs import DAY_S, line_costs

    sums = await usage.report(db, only, step_s=DAY_S, groups=groups.groups)
    label = groups.label
    if groups.metadata_key is not None:
        ids = list(dict.fromkeys((found.thread_id or "", found.run_id or "") for found in sums))
        label = _metadata_label(await runs.find(db, ids), groups.metadata_key)
    rows: defaultdict[str, UsageRow] = defaultdict(lambda: UsageRow(""))
    for found in sums:
        row = rows[label(found)]
        row.label = label(found)
        row.input_tokens += found.input_tokens
        row.cached_tokens += found.cached_tokens
        row.output_tokens += found.output_tokens
        row.calls += found.calls
        lines = list(line_costs([found], prices))
        row.dollars += sum((line.dollars for line in lines), Decimal(0))
        row.unpriced += 0 if lines else found.calls
    return sorted(rows.values(), key=lambda row: row.label)


def _metadata_label(found: Mapping[tuple[str, str], Run], key: str) -> Callable[[UsageSum], str]:
    def label(one: UsageSum) -> str:
        run = found.get((one.thread_id or "", one.run_id or ""))
        return _UNKNOWN if run is None else run.metadata.get(key, _UNKNOWN)

    return label


def _print_json(rows: Sequence[UsageRow]) -> None:
    for row in rows:
        fields = {
            "label": row.label,
            "input_tokens": row.input_tokens,
            "cached_tokens": row.cached_tokens,
            "output_tokens": row.output_tokens,
            "calls": row.calls,
            "cost_usd": None if row.unpriced == row.calls else float(row.dollars),
        }
        typer.echo(orjson.dumps(fields).decode())


def _print_table(by: str, rows: Sequence[UsageRow]) -> None:
    if not rows:
        say("No model call was counted in this time.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column(printable(by, MAX_LABEL))
    for heading in ("calls", "input", "cached", "output", "cost"):
        table.add_column(heading, justify="right")
    for row in rows:
        cost = _UNKNOWN if row.unpriced == row.calls else f"${row.dollars:,.4f}{'+' if row.unpriced else ''}"
        counts = (row.calls, row.input_tokens, row.cached_tokens, row.output_tokens)
        table.add_row(printable(row.label, MAX_LABEL), *(f"{count:,}" for count in counts), cost)
    Console(markup=False, emoji=False, highlight=False).print(table)
    if any(row.unpriced for row in rows):
        say("Some calls have no price: add prices to the models file (docs/models.md).")
