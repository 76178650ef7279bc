"""A database of an earlier version upgrades without loss: rows, views and the answers to GET requests stay the same.

The dumps are from `tests/sql/sample_data.py`, each made by a server of the version that its folder names.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.streams import STREAM_TYPES
from projections import rebuild
from service.database import connect
from service.migrations import migrate
from service.writer.stream_state import fold
from sql.connection import Connection
from tests.audit.test_sequencer import seal_all
from tests.audit.test_verification import verify
from tests.client import V1, Client
from tests.conftest import StartServer
from tests.fixtures.postgres import empty_database
from tests.leaf_check import check_leaves
from tests.sql.sample_data import Json, RecordedAnswer, get

DUMPS = sorted((Path(__file__).parent / "dumps").iterdir())
# GET operations whose answers are not about stored objects, or have no end.
NOT_RECORDED = {
    "/",
    "/console",
    "/console/assets/{version}/{file}",
    "/console/session",
    "/console/{view}",
    "/docs",
    "/openapi.json",
    "/healthz",
    "/metrics",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/threads/{thread_id}/stream",
    "/v1/threads/{thread_id}/runs/{run_id}/stream",
    "/v1/threads/{thread_id}/runs/{run_id}/replay",
    "/v1/threads/{thread_id}/runs/{run_id}/reviews",
    "/audit/log/checkpoint",
    "/audit/log/tile/{tile}",
    "/audit/log/epochs",
    "/audit/log/epochs/{epoch}/checkpoint",
    "/audit/log/epochs/{epoch}/tile/{tile}",
    "/v1/audit/events",
    "/v1/organization/audit_logs",
    "/v1/audit/erasures/{stream_id}",
    "/v1/audit/verification",
    "/v1/assistants/{assistant_id}/versions",
    "/v1/threads/{thread_id}/transcript",
    "/v1/audit/events/{stream_id}/{version}/proof",
    "/v1/webhook_endpoints/{webhook_endpoint_id}/deliveries",
    "/v1/organization/health",
    "/v1/organization/holds",
    "/v1/organization/holds/{hold_id}",
    "/v1/organization/projects",
    "/v1/organization/projects/{project_id}",
    "/v1/organization/projects/{project_id}/api_keys",
    "/v1/organization/projects/{project_id}/retention",
    "/v1/organization/projects/{project_id}/api_keys/{key_id}",
    "/v1/organization/usage/completions",
    "/v1/organization/usage/runs",
    "/v1/organization/usage/failures",
    "/v1/organization/costs",
}


@pytest.fixture(params=DUMPS, ids=lambda folder: folder.name)
def dump(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


@pytest.fixture
async def database_url(postgres: str, dump: Path) -> AsyncIterator[str]:
    """The database of the dump, not upgraded."""
    async with empty_database(postgres) as url:
        db = await connect(url)
        await db.execute(gzip.decompress((dump / "dump.sql.gz").read_bytes()).decode())
        await db.close()
        yield url


@pytest.fixture
async def old(database_url: str) -> AsyncIterator[Connection]:
    """A connection to the database of the dump."""
    db = await connect(database_url)
    yield db
    await db.close()


async def test_every_row_stays(old: Connection) -> None:
    columns = {table: names - REBUILT - MOVED.get(table, set()) for table, names in (await _columns(old)).items()}
    before = await _rows(old, columns)
    assert min(len(rows) for table, rows in before.items() if table not in EMPTY) > 0, "the dump has every kind of row"
    await migrate(old)
    after = await _rows(
        old,
        columns | {table: columns[table] - CHANGED[table].keys() | set(CHANGED[table].values()) for table in CHANGED},
    )
    assert after == before


async def test_every_event_has_its_leaf(old: Connection) -> None:
    events = await old.fetchval("SELECT count(*) FROM events")
    await migrate(old)
    assert await check_leaves(old) == events > 0


async def test_every_event_waits_for_the_sequencer(old: Connection) -> None:
    await migrate(old)
    events = await old.fetch("SELECT stream_id, version, type, leaf, at FROM events ORDER BY stream_id, version")
    rows = await old.fetch("SELECT * FROM log_pending ORDER BY stream_id, first_version")
    waiting = [
        (row["stream_id"], row["first_version"] + place, type, row["leaves"][32 * place : 32 * place + 32], row["at"])
        for row in rows
        for place, type in enumerate(row["types"])
    ]
    assert waiting == [tuple(event) for event in events]
    assert 0 < len(rows) < len(events), "the events of one append are one row"


@pytest.mark.slow
async def test_views_and_states_are_those_of_the_log(old: Connection) -> None:
    await migrate(old)
    await _assert_views_follow_the_log(old)


@pytest.mark.slow
async def test_verification_finds_no_fault(old: Connection, database_url: str) -> None:
    """Before and after the sequencer has given the older events their indexes."""
    await migrate(old)
    assert await verify(database_url) == []
    await seal_all(old)
    assert await verify(database_url) == []


async def test_an_interrupted_rebuild_is_completed(old: Connection) -> None:
    """The last process migrated the schema and died before it rebuilt the listed streams."""
    await migrate(old)
    await old.execute("INSERT INTO pending_rebuilds SELECT stream_id FROM streams")
    await old.execute("DELETE FROM messages")
    await migrate(old)
    assert await old.fetchval("SELECT count(*) FROM pending_rebuilds") == 0
    await _assert_views_follow_the_log(old)


@pytest.mark.slow
async def test_every_get_answers_as_before(dump: Path, start_server: StartServer, tmp_path: Path) -> None:
    shutil.copytree(dump / "blobs", tmp_path / "blobs")
    recorded = [RecordedAnswer(*one) for one in orjson.loads(gzip.decompress((dump / "answers.json.gz").read_bytes()))]
    different = []
    async with start_server(indexing=True) as server:
        for key in {answer.key for answer in recorded}:
            async with Client(server.base_url, key=key) as client:
                for answer in recorded:
                    if answer.key != key:
                        continue
                    found = await get(client, answer.beta, answer.path)
                    if _is_v1_of_v2_path(answer):
                        assert (found.status, found.body["error"]["code"]) == (404, "unknown_url")
                    elif _without_status(found) != _with_empty_resources(answer):
                        different.append((answer, found))
        async with server.session.get(server.base_url.removesuffix("/v1") + "/openapi.json") as response:
            operations = (await response.json())["paths"]
    assert different == []
    paths = {path for path, operation in operations.items() if "get" in operation} - NOT_RECORDED
    assert [path for path in sorted(paths) if not any(_matches(path, answer) for answer in recorded)] == []


def _with_empty_resources(answer: RecordedAnswer) -> RecordedAnswer:
    """Returns the answer as it is after 0.2.0: an assistant has an empty list for each tool without resources."""
    return answer._replace(body=_fill(answer.body))


def _without_status(answer: RecordedAnswer) -> RecordedAnswer:
    """Returns an answer of v2 without the status that incomplete messages have over REST since 0.3.0."""
    return answer if answer.beta == V1 else answer._replace(body=_strip(answer.body))


def _strip(body: Any) -> Any:
    if isinstance(body, list):
        return [_strip(one) for one in body]
    if not isinstance(body, dict):
        return body
    is_partial = body.get("object") == "thread.message" and body.get("status") == "incomplete"
    left_out = {"status", "incomplete_details", "incomplete_at", "completed_at"} if is_partial else set()
    return {name: _strip(value) for name, value in body.items() if name not in left_out}


def _fill(body: Any) -> Any:
    if isinstance(body, list):
        return [_fill(part) for part in body]
    if not isinstance(body, dict):
        return body
    filled = {key: _fill(value) for key, value in body.items()}
    if filled.get("object") == "assistant" and "tool_resources" in filled:
        types = [tool["type"] for tool in filled["tools"]]
        empty: Json = {"code_interpreter": {"file_ids": []}, "file_search": {"vector_store_ids": []}}
        filled["tool_resources"] = {tool: empty[tool] for tool in empty if tool in types} | filled["tool_resources"]
    return filled


def _is_v1_of_v2_path(answer: RecordedAnswer) -> bool:
    """Version 0.1.0 said "No vector store found" to v1; all other paths of vector stores are unknown URLs there."""
    return answer.beta == V1 and answer.path.startswith("/vector_stores/") and answer.status == 404


def _matches(path: str, answer: RecordedAnswer) -> bool:
    """Whether the answer is a successful one of the operation at `path`, for example /v1/threads/{thread_id}."""
    parts, asked = path.split("/")[2:], answer.path.partition("?")[0].split("/")[1:]
    is_same = len(parts) == len(asked) and all(a == b or a.startswith("{") for a, b in zip(parts, asked, strict=True))
    return is_same and answer.status == 200


# Uploads that have ended keep no parts, and the webhook receiver accepted every delivery.
EMPTY = {"upload_parts", "webhook_deliveries"}


# Migration 0005 rebuilds the views with patches instead of changed bodies. The answers to GET requests show that they
# hold the same objects.
REBUILT = {"body", "progress", "last_error"}
# Migration 0012 moves these columns of active runs to a table of their own.
MOVED = {"runs": {"status", "expires_at", "process"}}
# Migration 0003 puts a salt in front of contents, and 0025 makes secrets bytes.
CHANGED = {
    "events": {"content": "substr(content, 33) AS content"},
    "webhook_work": {
        "secret": "convert_from(secret, 'UTF8') AS secret",
        "replaced_secrets": (
            "ARRAY(SELECT convert_from(each, 'UTF8') FROM unnest(replaced_secrets) AS each) AS replaced_secrets"
        ),
    },
}


async def _columns(db: Connection) -> dict[str, set[str]]:
    """Returns the columns of all tables but the list of migrations. Rows of partitions are those of their tables."""
    tables = await db.fetch(
        "SELECT relname, array_agg(attname::text) AS columns FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped"
        " AND NOT relispartition AND relname <> 'migrations' GROUP BY relname"
    )
    return {row["relname"]: set(row["columns"]) for row in tables}


async def _rows(db: Connection, columns: dict[str, set[str]]) -> dict[str, list[Any]]:
    """Returns these columns of all rows, as JSON."""
    tables = {name: f"SELECT {', '.join(chosen)} FROM public.{name}" for name, chosen in columns.items()}
    return {
        name: await db.fetch(f"SELECT to_jsonb(t)::text FROM ({rows}) t ORDER BY 1") for name, rows in tables.items()
    }


async def _assert_views_follow_the_log(db: Connection) -> None:
    async for stream_id, _ in rebuild.list_streams(db):
        assert await rebuild.verify(db, stream_id) == [], stream_id
    for row in await db.fetch("SELECT stream_id, kind, state_schema, state FROM streams"):
        stream_type = STREAM_TYPES[row["kind"]]
        state = await fold(db, stream_type, row["stream_id"])
        if row["state_schema"] == stream_type.state_schema:
            assert stream_type.adapter.validate_json(row["state"]) == state
        else:
            assert row["state_schema"] < stream_type.state_schema, "it is folded again when it is read"
