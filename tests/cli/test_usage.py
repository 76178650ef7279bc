"""`everthread usage`: tables of tokens and costs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from service.cli.usage import UsageRow, _print_table, parse_grouping
from service.database import Pool
from service.errors import CommandError
from sql.connection import Connection
from tests.audit.sealing import seal
from tests.cli.test_keys import everthread
from tests.events.thread.story import add, claim, finish, run
from tests.projections.helpers import ORIGIN, make_thread, writer

PRICES = '[[models]]\nmatch = "gpt-test"\n[[models.prices]]\ninput = 1\noutput = 2\n'


@pytest.mark.slow
async def test_the_command(pool: Pool, db: Connection, database_url: str, tmp_path: Path) -> None:
    write = writer(pool)
    for number, customer in enumerate(("acme", "acme", "other")):
        await make_thread(write, f"thread_{number}")
        await write.thread(ORIGIN, f"thread_{number}", add("one"))
        model = "gpt-free" if customer == "other" else "gpt-test"
        command = run(claim=claim(), metadata={"customer": customer}, model=model)
        await write.thread(ORIGIN, f"thread_{number}", command)
        await write.thread(ORIGIN, f"thread_{number}", finish("Hi"))
    await seal(db)
    (tmp_path / "models.toml").write_text(PRICES)

    async def usage(*arguments: str) -> tuple[int, str, str]:
        environment = {"EVERTHREAD_DATABASE_URL": database_url, "EVERTHREAD_MODELS": str(tmp_path / "models.toml")}
        return await asyncio.to_thread(everthread, "usage", "--since", "2000-01-01", *arguments, **environment)

    code, output, report = await usage("--by", "metadata:customer", "--json")
    assert code == 0, report
    rows = [json.loads(line) for line in output.splitlines()]
    counts = {"input_tokens": 20, "cached_tokens": 4, "output_tokens": 10, "calls": 2}
    assert rows[0] == {"label": "acme", **counts, "cost_usd": 0.00004}
    assert (rows[1]["label"], rows[1]["calls"], rows[1]["cost_usd"]) == ("other", 1, None)
    code, output, report = await usage("--by", "model")
    assert [line.split() for line in output.splitlines()] == [
        ["model", "calls", "input", "cached", "output", "cost"],
        ["gpt-free", "1", "10", "2", "5", "–"],
        ["gpt-test", "2", "20", "4", "10", "$0.0000"],
    ]
    assert "Some calls have no price" in report
    code, _, report = await usage("--by", "colour")
    assert code == 1
    assert "--by: must be day, model, project, key, assistant or metadata:KEY" in report


def test_labels_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    _print_table("metadata:[/x]", [UsageRow("a[/b]:smile:\x1b[31m", calls=1)])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.startswith("metadata:[/x] ")
    assert row.startswith(r"a[/b]:smile:\x1b[31m ")


@pytest.mark.parametrize("by", ["day", "model", "project", "key", "assistant", "metadata:a:b"])
def test_groupings(by: str) -> None:
    assert parse_grouping(by).metadata_key == ("a:b" if by.startswith("metadata:") else None)


def test_a_grouping_without_a_key_is_refused() -> None:
    with pytest.raises(CommandError):
        parse_grouping("metadata:")


@pytest.mark.slow
async def test_the_reports_are_made_again(pool: Pool, db: Connection, database_url: str) -> None:
    await make_thread(writer(pool), "thread_1")
    await writer(pool).thread(ORIGIN, "thread_1", add("one"))
    await writer(pool).thread(ORIGIN, "thread_1", run(claim=claim()))
    await writer(pool).thread(ORIGIN, "thread_1", finish("Hi"))
    await seal(db)
    await db.execute("INSERT INTO usage_runs VALUES ('thread_x', 'run_x', 'p', NULL, 'a', 'm')")
    code, _, report = await asyncio.to_thread(everthread, "rebuild", "usage", EVERTHREAD_DATABASE_URL=database_url)
    assert code == 0, report
    assert "The reports of usage were made again" in report
    assert await db.fetchval("SELECT count(*) FROM usage_calls") == 1
    assert [row["thread_id"] for row in await db.fetch("SELECT thread_id FROM usage_runs")] == ["thread_1"]
    assert await db.fetchval("SELECT status FROM run_outcomes") == "completed"
    code, _, report = await asyncio.to_thread(
        everthread, "rebuild", "usage", "--check", EVERTHREAD_DATABASE_URL=database_url
    )
    assert code == 1
    assert "usage can only be made again" in report
