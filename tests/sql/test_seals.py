"""Which columns are encrypted, and the laws of sealed values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sql
from projections.views import TABLES
from sql import seals
from sql.connection import Connection
from sql.row_operations import RowOperation, block_text, parameter_count
from sql.sealed_columns import SEALED_KINDS, SEALED_PARAMETERS, SEALED_TABLES, Place, SealedResult
from sql.seals import ContentErased, SealBroken, StreamKey, find_sealed, is_sealed, open_rows, seal_operations

ROOT = Path(__file__).parents[2]
FILES = sorted(path.stem for path in (ROOT / "sql" / "queries").glob("*.sql"))

# The columns of the types bytea, text, json and jsonb that stay plain, by table. `still` are those that hold text of
# clients and are to be encrypted too (docs/encryption.md).
PLAIN = {
    "active_runs": {"thread_id", "run_id", "project_id", "status"},
    "attached_code_files": {"file_id"},
    "erasures": {"stream_id", "kind", "project_id"},
    "legal_holds": {"hold_id", "project_id", "thread_id", "metadata", "reason"},
    "retention_policies": {"project_id"},
    "api_keys": {"key_id", "project_id", "name", "scope", "hash", "ending"},
    "assistants": {"assistant_id", "project_id"},
    "blob_store": {"marker"},
    "chunk_files": {"store_id", "file_id"},
    "embedding_models": {"name"},
    "encryption_epochs": {"key_id"},
    "events": {
        *("stream_id", "type", "project_id", "actor", "request_id", "cause", "software_version", "key_id"),
        *("commitment", "leaf", "client"),
    },
    "files": {"file_id", "project_id", "purpose", "blob"},
    "idempotency_effects": {"stream_id", "seed"},
    "idempotency_keys": {"token", "seed", "request", "body", "headers"},
    "key_uses": {"key_id"},
    "live_deltas": {"thread_id"},
    "log_attestations": {"attester", "kind", "data"},
    "log_attesters": {"attester", "problem"},
    "log_checkpoints": {"note"},
    "log_epochs": {"origin"},
    "log_latest": {"note"},
    "log_pending": {"stream_id", "project_id", "actor", "request_id", "types", "leaves"},
    "log_ranges": {"stream_id", "project_id", "actor", "request_id", "types", "leaves"},
    "log_tiles": {"hashes", "root"},
    "messages": {"thread_id", "message_id", "project_id", "run_id"},
    "metadata_pairs": {"stream_id", "pair", "kind", "project_id"},
    "migrations": {"name", "sha256"},
    "pending_rebuilds": {"stream_id"},
    "projects": {"project_id", "name"},
    "request_clients": {"request_id"},
    "thread_words": {"thread_id", "message_id", "project_id"},
    "imported_runs": {"thread_id", "run_id", "project_id", "assistant_id", "status"},
    "run_outcomes": {
        *("thread_id", "run_id", "project_id", "key_id", "assistant_id", "model"),
        *("status", "cause"),
    },
    "runs": {"thread_id", "run_id", "project_id", "promised"},
    "signing_keys": {"key_id"},
    "steps": {"thread_id", "step_id", "project_id", "run_id", "kind"},
    "stream_keys": {"stream_id", "key_id", "wrapped"},
    "streams": {"stream_id", "kind", "project_id", "leaf", "key_id"},
    "thread_attachments": {"thread_id", "file_ids"},
    "threads": {"thread_id", "project_id"},
    "upload_parts": {"upload_id", "part_id"},
    "uploads": {"upload_id", "project_id", "status", "file_id", "makes"},
    "usage_calls": {"thread_id", "run_id", "project_id", "key_id", "assistant_id", "model"},
    "usage_runs": {"thread_id", "run_id", "project_id", "key_id", "assistant_id", "model"},
    "vector_store_batches": {"store_id", "batch_id", "project_id"},
    "vector_store_files": {"store_id", "file_id", "project_id", "batch_id", "status"},
    "vector_stores": {"store_id", "project_id", "embedding_model"},
    "vectors": {"store_id", "file_id"},
    "view_generations": {"view", "state"},
    "view_rebuilds": {"views", "last_stream_id", "software_version", "broken"},
    "webhook_deliveries": {"endpoint_id", "stream_id"},
    "webhook_endpoints": {"endpoint_id", "project_id", "types"},
    "webhook_work": {"endpoint_id"},
}
# The columns with text of clients, or secrets, that are still plain (docs/encryption.md).
STILL_PLAIN = {
    "chunk_words": {"store_id", "word"},
    "chunks": {"store_id", "file_id", "text"},
    "request_clients": {"content"},
    "vector_store_files": {"filename", "attributes"},
}


async def test_every_column_is_sealed_or_declared_as_plain(db: Connection) -> None:
    rows = await db.fetch(
        "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace AND attnum > 0 "
        "AND NOT attisdropped AND atttypid::regtype::text IN "
        "('text', 'bytea', 'json', 'jsonb', 'text[]', 'bytea[]')"
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["relname"], set()).add(row["attname"])
    declared = {table: set(columns) for table, columns in PLAIN.items()}
    for table, columns in STILL_PLAIN.items():
        declared.setdefault(table, set()).update(columns)
    for table, layout in SEALED_TABLES.items():
        assert not declared[table] & set(layout.columns), table
        declared[table].update(layout.columns)
    assert found == declared


async def test_every_result_with_a_sealed_column_says_so(db: Connection) -> None:
    names = {column for layout in SEALED_TABLES.values() for column in layout.columns}
    wrong = []
    for file in FILES:
        for name, query in sql.queries(file).items():
            attributes = (await db.prepare(query)).get_attributes()
            held = {each.name for each in attributes if each.type.name in ("bytea", "bytea[]") and each.name in names}
            results = sql.sealed_results(query)
            declared = {column for result in results for column in result.columns}
            if held - declared and f"{file}.{name}" not in OTHER_TABLES:
                wrong.append(f"{file}.{name}: {held}")
            for result in results:
                columns = {each.name for each in attributes}
                assert len(result.key) == len(SEALED_TABLES[result.table].key), f"{file}.{name}"
                named = {part for part in result.key if isinstance(part, str) and not part.startswith("'")}
                assert named <= columns, f"{file}.{name}"
    assert wrong == []


# Queries of tables that are not sealed.
OTHER_TABLES = {"idempotency.find"}


def test_the_parameters_that_are_sealed_are_those_of_sealed_columns() -> None:
    for block, sealed in SEALED_PARAMETERS.items():
        table, count = block.partition(".")[0], parameter_count(block)
        assert set(sealed.columns.values()) <= set(SEALED_TABLES[table].columns), block
        assert len(sealed.key) == len(SEALED_TABLES[table].key), block
        assert all(number <= count for number in (*sealed.key, *sealed.columns)), block


# Tables that no event changes.
NO_VIEWS = {"idempotency_keys", "live_deltas", "signing_keys", "webhook_work"}


@pytest.mark.parametrize("table", sorted(SEALED_TABLES.keys() - NO_VIEWS))
def test_every_block_that_writes_a_sealed_column_is_known(table: str) -> None:
    for name in sql.blocks(table):
        block = f"{table}.{name}"
        text = block_text(block)
        writes = [c for c in SEALED_TABLES[table].columns if re.search(rf"\b{c}\b", text)]
        has_parameter = re.search(r"(body|patches|state|content|last_error)\b[^\n]*(\$\d|unnest|excluded)", text)
        if writes and has_parameter and not text.startswith("DELETE"):
            assert block.removesuffix("_many") in SEALED_PARAMETERS, block


def test_the_sealed_kinds_are_those_of_streams_with_sealed_views() -> None:
    kinds = {type.name for type, tables in TABLES.items() if any(table in SEALED_TABLES for table in tables)}
    assert kinds == SEALED_KINDS


KEY = StreamKey("thread_1", bytes(8), bytes(range(32)))
PLACES = st.tuples(
    st.sampled_from(["messages", "runs"]), st.sampled_from(["thread_1", "thread_2"]), st.text(), st.just("body")
)


@given(st.binary(), PLACES, PLACES)
def test_a_sealed_value_opens_at_its_place_alone(value: bytes, place: Place, other: Place) -> None:
    sealed = KEY.seal(value, place)
    assert is_sealed(sealed)
    assert len(sealed) == len(value) + seals.OVERHEAD == len(value) + 44  # sql/queries/audit_feed.sql subtracts it
    assert KEY.open(sealed, place) == value
    if other != place:
        with pytest.raises(SealBroken):
            KEY.open(sealed, other)


@given(st.lists(st.text(), min_size=3), st.lists(st.text(), min_size=3))
def test_two_places_have_different_additional_data(first: list[str], second: list[str]) -> None:
    same = seals.additional_data(tuple(first), bytes(8)) == seals.additional_data(tuple(second), bytes(8))
    assert same == (first == second)


@given(st.binary(min_size=1), st.data())
def test_a_changed_value_does_not_open(value: bytes, data: st.DataObject) -> None:
    place = ("messages", "thread_1", "msg_1", "body")
    sealed = bytearray(KEY.seal(value, place))
    at = data.draw(st.integers(len(seals.MAGIC), len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((SealBroken, ContentErased)):
        KEY.open(bytes(sealed), place)


def test_another_key_does_not_open() -> None:
    place = ("messages", "thread_1", "msg_1", "body")
    sealed = KEY.seal(b"{}", place)
    with pytest.raises(ContentErased):
        StreamKey("thread_1", bytes([1]) * 8, bytes(range(32))).open(sealed, place)
    with pytest.raises(SealBroken):
        StreamKey("thread_1", bytes(8), bytes(32)).open(sealed, place)


def test_the_same_operations_sealed_again_repeat_no_nonce() -> None:
    """An append that lost its race, or failed, is sealed again with the same versions."""
    operation = RowOperation("messages.modify", ("thread_1", "msg_1", b"{}"))
    nonces = {
        bytes(seal_operations([operation], KEY)[0].values[2])[len(seals.MAGIC) + 8 :][: seals.NONCE_BYTES]
        for _ in range(1000)
    }
    assert len(nonces) == 1000


def test_plain_rows_stand_beside_sealed_ones() -> None:
    result = SealedResult("messages", (1, "message_id"), ("body", "patches"))
    plain = {"message_id": "msg_1", "body": b"{}", "patches": [None, b"[]"]}
    sealed = {
        "message_id": "msg_2",
        "body": KEY.seal(b"{1}", ("messages", "thread_1", "msg_2", "body")),
        "patches": [None, KEY.seal(b"[2]", ("messages", "thread_1", "msg_2", "patches"))],
    }
    opened = open_rows(result, [plain, sealed], find_sealed(result, [plain, sealed]), ("thread_1",), {"thread_1": KEY})
    assert opened[0] is plain
    assert dict(opened[1]) == {"message_id": "msg_2", "body": b"{1}", "patches": [None, b"[2]"]}
    assert list(opened[1]) == ["msg_2", b"{1}", [None, b"[2]"]]


def test_a_moved_row_does_not_open_and_a_lenient_reader_gets_nothing_of_it() -> None:
    result = SealedResult("messages", (1, "message_id"), ("body",))
    moved = {"message_id": "msg_3", "body": KEY.seal(b"{1}", ("messages", "thread_1", "msg_2", "body"))}
    with pytest.raises(SealBroken):
        open_rows(result, [moved], [True], ("thread_1",), {"thread_1": KEY})
    assert open_rows(result, [moved], [True], ("thread_1",), {"thread_1": KEY}, is_lenient=True)[0]["body"] == b""
    with pytest.raises(ContentErased):
        open_rows(result, [moved], [True], ("thread_1",), {})
    assert is_sealed(open_rows(result, [moved], [True], ("thread_1",), {}, is_lenient=True)[0]["body"])
