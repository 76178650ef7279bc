"""Commitments and leaves: the vectors of docs/log-format.md, and a second implementation."""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import leaves
from events.leaves import Envelope
from tests.leaf_reference import commitment_of, leaf_of

# The time `infinity` of Postgres, as asyncpg returns it.
INFINITY = datetime.fromisoformat("9999-12-31T23:59:59.999999")
FORMAT = Path(__file__).parents[2] / "docs" / "log-format.md"

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
ENVELOPES = st.builds(
    Envelope,
    algorithm=st.just(leaves.ALGORITHM),
    stream_id=TEXTS,
    version=st.integers(1, 2**63 - 1),
    type=TEXTS,
    at=st.datetimes(timezones=st.just(UTC)),
    project_id=TEXTS,
    actor=TEXTS,
    request_id=st.none() | TEXTS,
    cause=st.none() | TEXTS,
    client=st.none() | st.binary(min_size=32, max_size=32),
    schema_version=st.integers(0, 2**31 - 1),
    software_version=TEXTS,
)
ENVELOPE = Envelope(
    algorithm=leaves.ALGORITHM,
    stream_id="thread_1",
    version=2,
    type="message.added",
    at=datetime(2026, 11, 28, tzinfo=UTC),
    project_id="proj_1",
    actor="cli",
    request_id=None,
    cause=None,
    client=None,
    schema_version=1,
    software_version="1.0.0",
)
COMMITMENT, PREVIOUS = b"c" * 32, b"p" * 32


def vectors() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        orjson.loads(text) for text in re.findall(r"```json\n(.*?)```", FORMAT.read_text(), re.DOTALL)
    ]
    return found


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["type"])
def test_the_vectors_of_the_document(vector: dict[str, Any]) -> None:
    content = bytes.fromhex(vector["salt"]) + vector["json"].encode()
    assert leaves.salt_content(vector["json"].encode(), bytes.fromhex(vector["salt"])) == content
    assert leaves.content_json(content) == vector["json"].encode()
    assert leaves.commit(content).hex() == commitment_of(content).hex() == vector["commitment"]
    columns = {field.name: vector[field.name] for field in fields(Envelope)}
    client = None if vector["client"] is None else bytes.fromhex(vector["client"])
    envelope = Envelope(**columns | {"at": datetime.fromisoformat(vector["at"]), "client": client})
    leaf = leaves.hash_leaf(envelope, bytes.fromhex(vector["commitment"]), bytes.fromhex(vector["previous"]))
    assert leaf.hex() == vector["leaf"]


def test_the_document_has_vectors() -> None:
    first, second, third = vectors()
    assert (first["algorithm"], third["algorithm"], third["previous"]) == (1, 2, second["leaf"])
    assert (first["previous"], second["previous"]) == ("", first["leaf"])


@given(ENVELOPES, st.binary(min_size=32, max_size=32), st.binary(), st.sampled_from([b"", b"p" * 32]))
def test_law_both_implementations_agree(envelope: Envelope, salt: bytes, json: bytes, previous: bytes) -> None:
    content = leaves.salt_content(json, salt)
    commitment = leaves.commit(content)
    assert commitment == commitment_of(content)
    row = asdict(envelope) | {"commitment": commitment}
    assert leaves.hash_leaf(envelope, commitment, previous) == leaf_of(row, previous)


@given(ENVELOPES, ENVELOPES)
def test_law_other_columns_give_another_leaf(one: Envelope, other: Envelope) -> None:
    same = leaves.hash_leaf(one, COMMITMENT, PREVIOUS) == leaves.hash_leaf(other, COMMITMENT, PREVIOUS)
    assert same == (one == other)


@pytest.mark.parametrize(
    "changes",
    [
        {"stream_id": "thread_2"},
        {"version": 3},
        {"type": "message.modified"},
        {"at": datetime(2026, 11, 28, microsecond=1, tzinfo=UTC)},
        {"project_id": "proj_2"},
        {"actor": "key:1"},
        {"request_id": ""},
        {"cause": ""},
        {"client": bytes(32)},
        {"client": b""},
        {"schema_version": 2},
        {"software_version": "1.0.1"},
        # The same bytes, divided in another way.
        {"project_id": "proj_", "actor": "1cli"},
    ],
)
def test_every_column_counts(changes: dict[str, Any]) -> None:
    changed = replace(ENVELOPE, **changes)
    assert leaves.hash_leaf(changed, COMMITMENT, PREVIOUS) != leaves.hash_leaf(ENVELOPE, COMMITMENT, PREVIOUS)


def test_older_events_have_their_own_algorithm() -> None:
    old = replace(ENVELOPE, algorithm=1)
    row = asdict(old) | {"commitment": COMMITMENT}
    assert leaves.hash_leaf(old, COMMITMENT, PREVIOUS) == leaf_of(row, PREVIOUS)
    with pytest.raises(ValueError, match="does not cover"):
        leaves.hash_leaf(replace(old, client=bytes(32)), COMMITMENT, PREVIOUS)
    with pytest.raises(ValueError, match="unknown"):
        leaves.hash_leaf(replace(old, algorithm=3), COMMITMENT, PREVIOUS)


def test_commitment_and_previous_count() -> None:
    leaf = leaves.hash_leaf(ENVELOPE, COMMITMENT, PREVIOUS)
    assert leaf != leaves.hash_leaf(ENVELOPE, PREVIOUS, PREVIOUS)
    assert leaf != leaves.hash_leaf(ENVELOPE, COMMITMENT, COMMITMENT)
    assert leaf != leaves.hash_leaf(ENVELOPE, COMMITMENT, leaves.NO_LEAF)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_salt_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes, not 32"):
        leaves.salt_content(b"{}", bytes(size))


def test_leaves_of_stored_events() -> None:
    """A hasher that keeps encodings gives each event the leaf that it has alone, whatever changed meanwhile."""
    row: dict[str, Any] = {
        "stream_id": "thread_1",
        "version": 1,
        "type": "message.added",
        "at": datetime(2026, 11, 28, tzinfo=UTC),
        "project_id": "proj_1",
        "actor": "cli",
        "request_id": "req_1",
        "cause": None,
        "client": None,
        "schema_version": 1,
        "software_version": "0.2.0",
        "algorithm": 2,
        "content": b"",
        "commitment": bytes(32),
        "leaf": b"",
    }
    changes: list[dict[str, Any]] = [
        {},
        {"version": 2, "type": "x"},
        {"at": datetime(2026, 11, 29, tzinfo=UTC)},
        {"project_id": "proj_2"},
        {"actor": "run"},
        {"request_id": None},
        {"cause": "run_1"},
        {"client": bytes(range(32))},
        {"schema_version": 0},
        {"software_version": "0.3.0"},
        {"algorithm": 1},
        {"stream_id": "thread_2"},
        {"commitment": b"\x01" * 32},
    ]
    hasher = leaves.LeafHasher()
    for change in [*changes, *reversed(changes)]:
        event = leaves.StoredEvent(**{**row, **change})
        names = [field.name for field in fields(Envelope)]
        envelope = leaves.Envelope(**{name: getattr(event, name) for name in names})
        for previous in (leaves.NO_LEAF, bytes(32)):
            assert hasher.hash(event, previous) == leaves.hash_leaf(envelope, event.commitment, previous)
    for wrong in ({"algorithm": 3}, {"algorithm": 1, "client": bytes(32)}):
        with pytest.raises(ValueError, match="algorithm"):
            hasher.hash(leaves.StoredEvent(**{**row, **wrong}), b"")
    with pytest.raises(TypeError):
        hasher.hash(leaves.StoredEvent(**{**row, "at": INFINITY}), b"")
    event = leaves.StoredEvent(**row)
    assert hasher.hash(event, b"") == leaves.LeafHasher().hash(event, b""), "errors leave nothing behind"
