"""Every way to change the database by hand is found and named; an untouched database has no faults."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import sql
from events.actors import ProcessActor
from events.assistant import DeleteAssistant
from events.clients import ClientFacts, commit_client, seal_client
from events.envelope import Origin
from events.errors import DomainError
from events.file import CreateFile, DeleteFile
from events.installation import INSTALLATION_ID, INSTALLATION_PROJECT, CreateInstallation, UseLogKey
from events.project import CreateProject
from events.streams import ASSISTANT, FILE, INSTALLATION, PROJECT, VECTOR_STORE, WEBHOOK_ENDPOINT
from events.thread.commands import DeleteThread
from events.vector_store.commands import CreateStore, DeleteStore, NewFile
from events.webhook_endpoint import CreateEndpoint, DeleteEndpoint
from projections.rebuild import rebuild
from projections.views import TABLES
from service.audit import log_check, verification
from service.audit.checkpoint import Checkpoint
from service.audit.checkpoint_signer import CheckpointSigner, verifier_key
from service.audit.kept_checkpoints import CheckpointFolder
from service.audit.log_check import KnownCheckpoint
from service.audit.log_tree import load_epoch
from service.audit.notes import Note
from service.audit.restores import check_history
from service.audit.schema_check import table_names
from service.audit.sequencer import seal_batch
from service.audit.signing_key import LocalSigner
from service.audit.verification import Progress, Scope, verify_installation
from service.database import Pool
from service.storage.folder import FolderBlobs
from service.tasks.background import background
from sql.connection import Connection
from tests.audit.appends import check_log
from tests.audit.lockstep import Crash, Step, SteppedConnection
from tests.audit.sealing import fill
from tests.audit.tampering import forge_content, json_of
from tests.audit.test_sequencer import Processes, seal_all
from tests.clock import CLOCK
from tests.events.thread.histories import World
from tests.events.thread.story import claim, finish, run
from tests.projections.helpers import ORIGIN, make_assistant, make_thread, writer

SIGNER = LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
BYTES = b"The lighthouse at Cape Wrath was built in 1828.\n"


async def verify(url: str, blobs: FolderBlobs | None = None, scope: Scope | None = None) -> list[str]:
    """Returns the faults as they are printed."""
    return [str(fault) for fault in (await verified(url, blobs, scope)).faults]


async def verified(url: str, blobs: FolderBlobs | None = None, scope: Scope | None = None) -> Progress:
    return await verify_installation(url, blobs, scope or Scope(), lambda _: None)


@pytest.fixture
async def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
async def filled(pool: Pool, db: Connection, blobs: FolderBlobs, tmp_path: Path) -> Connection:
    """A connection, as superuser, to a database with sealed events of several streams and a signed checkpoint."""
    write = writer(pool)
    await make_thread(write, "thread_1", "one", "two", "three")
    await make_thread(write, "thread_2")
    await write.thread(ORIGIN, "thread_2", run(claim=claim()))
    await write.thread(ORIGIN, "thread_2", finish("Hello."))
    await make_assistant(write, "asst_1", metadata={"colour": "blue"})
    await write.write(PROJECT, ORIGIN, "proj_1", CreateProject("one"))
    stored = await blobs.write("blob_1", _chunks(BYTES))
    create = CreateFile("a.txt", "assistants", stored.bytes, stored.sha256, "text/plain", None, "blob_1")
    await write.write(FILE, ORIGIN, "file-1", create)
    await seal_all(db)
    signer = CheckpointSigner(pool, Processes(), SIGNER, clock=CLOCK, folder=CheckpointFolder(tmp_path / "audit"))
    await signer.scan()
    return db


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_an_untouched_database_has_no_faults(filled: Connection, database_url: str, blobs: FolderBlobs) -> None:
    size = await filled.fetchval("SELECT count(*) FROM events")
    key = verifier_key(await load_epoch(filled), SIGNER)
    found = await verified(database_url, blobs, Scope(keys=[key]))
    assert found.faults == []
    assert (found.events, found.log_size, found.waiting, found.files, found.checkpoints) == (size, size, 0, 1, 1)


# Changes by a superuser who hides nothing, and the faults: every line that is reported matches the pattern.
CARELESS = {
    "a changed content": (
        "UPDATE events SET content = overlay(content PLACING 'x'::bytea FROM 60)"
        " WHERE stream_id = 'thread_1' AND version = 2",
        r"thread_1 version 2: the content was changed",
    ),
    "a changed salt": (
        "UPDATE events SET content = overlay(content PLACING 'x'::bytea FROM 1)"
        " WHERE stream_id = 'thread_1' AND version = 2",
        r"thread_1 version 2: the content was changed",
    ),
    "a content in place of one that no key opens": (
        r"UPDATE events SET content = '\x0045547365616c01'::bytea || content"
        " WHERE stream_id = 'thread_1' AND version = 2; UPDATE messages SET body = '{}' WHERE thread_id = 'thread_1'",
        r"thread_1( version 2)?: the (content cannot be read|key \w+ of its contents is missing).*",
    ),
    "a changed actor": (
        "UPDATE events SET actor = 'key:key_other' WHERE stream_id = 'thread_1' AND version = 2",
        r"thread_1 version 2: the envelope was changed.*",
    ),
    "a changed time": (
        "UPDATE events SET at = at + interval '1 microsecond' WHERE stream_id = 'thread_1' AND version = 4",
        r"thread_1 version 4: the envelope was changed.*",
    ),
    "a changed request": (
        "UPDATE events SET request_id = NULL WHERE stream_id = 'thread_1' AND version = 3",
        r"thread_1 version 3: the envelope was changed.*",
    ),
    "a changed schema version": (
        "UPDATE events SET schema_version = 1 - schema_version WHERE stream_id = 'thread_1' AND version = 3",
        r"thread_1 version 3: the envelope was changed.*",
    ),
    "a changed algorithm": (
        "UPDATE events SET algorithm = 1 WHERE stream_id = 'thread_1' AND version = 3",
        r"thread_1 version 3: the envelope was changed.*",
    ),
    "an unknown algorithm": (
        "UPDATE events SET algorithm = 9 WHERE stream_id = 'thread_1' AND version = 3",
        r"thread_1 version 3: the envelope was changed.*",
    ),
    "another client": (
        "UPDATE events SET client = sha256('x') WHERE stream_id = 'thread_1' AND version = 3",
        r"thread_1 version 3: the envelope was changed.*",
    ),
    "a changed commitment": (
        "UPDATE events SET commitment = sha256('x') WHERE stream_id = 'thread_1' AND version = 3",
        r"thread_1 version 3: the content was changed",
    ),
    "a changed leaf": (
        "UPDATE events SET leaf = sha256('x') WHERE stream_id = 'thread_1' AND version = 2",
        r"thread_1 version [23]: the envelope was changed.*",
    ),
    "a removed event": (
        "DELETE FROM events WHERE stream_id = 'thread_1' AND version = 2",
        r"thread_1 version 2: the event was removed",
    ),
    "a removed first event": (
        "DELETE FROM events WHERE stream_id = 'thread_1' AND version = 1",
        r"thread_1 version 1: the event was removed",
    ),
    "an inserted event": (
        "INSERT INTO events SELECT stream_id, 5, type, at, project_id, actor, request_id, cause, schema_version,"
        " software_version, xid, content, algorithm, commitment, sha256('x'), key_id, client FROM events"
        " WHERE stream_id = 'thread_1' AND version = 4",
        r"thread_1 version 5: the .*",
    ),
    "an inserted stream": (
        "INSERT INTO events SELECT 'thread_9', 1, type, at, project_id, actor, request_id, cause, schema_version,"
        " software_version, xid, content, algorithm, commitment, leaf, key_id, client FROM events"
        " WHERE stream_id = 'thread_1' AND version = 1",
        r"thread_9 version 1: the stream's head was removed, or the event was inserted",
    ),
    "reordered events": (
        "UPDATE events SET version = version + 100 WHERE stream_id = 'thread_1' AND version IN (2, 3);"
        "UPDATE events SET version = 105 - version WHERE stream_id = 'thread_1' AND version > 100",
        r"thread_1 version [23]: the events were reordered: this is version [23] of the log",
    ),
    "events swapped between streams": (
        "UPDATE events SET version = 102 WHERE stream_id = 'thread_1' AND version = 2;"
        "UPDATE events SET stream_id = 'thread_1' WHERE stream_id = 'thread_2' AND version = 2;"
        "UPDATE events SET stream_id = 'thread_2', version = 2 WHERE stream_id = 'thread_1' AND version = 102",
        r"thread_[12] version [23]: the envelope was changed, or the event was moved, .*",
    ),
    "swapped contents": (
        "UPDATE events AS one SET content = other.content FROM events AS other WHERE one.stream_id = 'thread_1'"
        " AND other.stream_id = 'thread_1' AND one.version IN (2, 3) AND other.version = 5 - one.version",
        r"thread_1 version [23]: the content was changed",
    ),
    "a truncated stream": (
        "DELETE FROM events WHERE stream_id = 'thread_1' AND version > 2",
        r"thread_1 version 3: the stream was truncated.*",
    ),
    "a truncated stream with its head": (
        "DELETE FROM events WHERE stream_id = 'thread_1' AND version > 2;"
        "UPDATE streams SET version = 2, leaf = events.leaf, at = events.at FROM events"
        " WHERE events.stream_id = 'thread_1' AND events.version = 2 AND streams.stream_id = 'thread_1'",
        r"thread_1 version 3: the stream was truncated: the log has its versions up to 4",
    ),
    "a removed stream": (
        "DELETE FROM events WHERE stream_id = 'asst_1'; DELETE FROM streams WHERE stream_id = 'asst_1';"
        "DELETE FROM assistants; DELETE FROM metadata_pairs",
        r"asst_1 version 1: the stream was removed: only the log has its events",
    ),
    "a removed head": (
        "DELETE FROM streams WHERE stream_id = 'thread_1'",
        r"thread_1( version 1: the stream's head was removed.*|: the row \w+ of \w+ belongs to no stream)",
    ),
    "a changed message": (
        "UPDATE messages SET body = overlay(body PLACING 'x'::bytea FROM 20) WHERE message_id = 'msg_2'",
        r"thread_1: the row msg_2 of messages was changed",
    ),
    "a removed message": (
        "DELETE FROM messages WHERE message_id = 'msg_2'",
        r"thread_1: the row msg_2 of messages was removed",
    ),
    "an inserted message": (
        "INSERT INTO messages SELECT thread_id, 'msg_9', project_id, 9, run_id, deleted, body, place, patches"
        " FROM messages WHERE message_id = 'msg_2'",
        r"thread_1: the row msg_9 of messages was inserted: no event leads to it",
    ),
    "a message of no thread": (
        "INSERT INTO messages SELECT 'thread_9', 'msg_9', project_id, 9, run_id, deleted, body, place, patches"
        " FROM messages WHERE message_id = 'msg_2'",
        r"thread_9: the row msg_9 of messages belongs to no stream",
    ),
    "a run of another project": (
        "UPDATE runs SET project_id = 'proj_2'",
        r"thread_2: the row run_1 of runs was changed",
    ),
    "a changed pair of metadata": (
        "UPDATE metadata_pairs SET project_id = 'proj_2'",
        r"asst_1: the row \w+ of metadata_pairs was changed",
    ),
    "a changed name": ("UPDATE projects SET name = 'two'", r"proj_1: the row proj_1 of projects was changed"),
    "a changed state": (
        "UPDATE streams SET state = (SELECT state FROM streams WHERE stream_id = 'thread_2')"
        " WHERE stream_id = 'thread_1'",
        r"thread_1 version 4: the state of the head is not that of the events",
    ),
    "a state that is no JSON": (
        "UPDATE streams SET state = '{' WHERE stream_id = 'thread_1'",
        r"thread_1 version 4: the state of the head is not that of the events",
    ),
    "a head of another project": (
        "UPDATE streams SET project_id = 'proj_2' WHERE stream_id = 'thread_1'",
        r"thread_1 version 4: the head has another project or time than the events",
    ),
    "a head moved back": (
        "UPDATE streams SET version = 3 WHERE stream_id = 'thread_1'",
        r"thread_1 version 4: the event was inserted after the head, or the head was moved back",
    ),
    "a head of another kind": (
        "UPDATE streams SET kind = 'file' WHERE stream_id = 'thread_1'",
        r"thread_1.*",
    ),
    "an event that is there twice": (
        "ALTER TABLE events DROP CONSTRAINT events_pkey;"
        "INSERT INTO events SELECT * FROM events WHERE stream_id = 'thread_1' AND version = 2",
        r"thread_1 version 2: the event is in its table twice|log: the table events has no valid primary key",
    ),
    "a head without events": (
        "INSERT INTO streams SELECT 'thread_9', kind, project_id, 0, at, state_schema, state, leaf, fence"
        " FROM streams WHERE stream_id = 'thread_1'",
        r"thread_9: the head has no events: it was inserted",
    ),
    "a state of newer software": (
        "UPDATE streams SET state_schema = 99, state = '{}' WHERE stream_id = 'thread_1'",
        r"thread_1 version 4: newer software wrote the state of the head, or its schema was changed",
    ),
    "an event that the log has twice": (
        "INSERT INTO log_ranges SELECT 17, 1, at, stream_id, 0, project_id, actor, request_id, types, leaves"
        " FROM log_ranges WHERE stream_id = 'thread_1' AND first_version = 1",
        r"thread_1( version 0)?: the log has the event twice, or a range for a version below 1",
    ),
    "an event that waits although the log has it": (
        "INSERT INTO log_pending SELECT at, stream_id, first_version, project_id, actor, request_id, types, sha256('x')"
        " FROM log_ranges WHERE stream_id = 'thread_1' AND first_version = 2",
        r"thread_1 version 2: the event waits in log_pending with another leaf than the log has",
    ),
    "an append of no stream that waits": (
        "INSERT INTO log_pending VALUES (now(), 'thread_9', 1, 'proj_1', 'cli', NULL, '{x}', sha256('x'))",
        r"thread_9 version 1: the event waits for its index, but there is no such stream",
    ),
    "an epoch before the first one": (
        "INSERT INTO log_epochs (epoch, origin, first_index) VALUES (0, 'everthread/other/0', 0)",
        r"log: (the first epoch of the log is not number 1 |the epoch 1 has the origin |no event begins the epoch 1).*",
    ),
    "a log that begins elsewhere": (
        "UPDATE log_ranges SET first_index = first_index + 1000; UPDATE log_epochs SET first_index = 1000",
        r"log: the first epoch of the log is not number 1 from the index 0: log_epochs was changed",
    ),
    "no epoch": (
        "DELETE FROM log_epochs",
        r"log: the database has no epoch of the log: log_epochs was emptied",
    ),
    "a tile beyond the log": (
        "INSERT INTO log_tiles VALUES (1, 0, 0, sha256('x'), sha256('x')), (1, 1, 0, sha256('x'), sha256('x'))",
        r"log: the stored tile 0 at level [01] was inserted: the log ends before it",
    ),
    "a tile of no epoch": (
        "INSERT INTO log_tiles VALUES (7, 0, 0, sha256('x'), sha256('x'))",
        r"log: log_tiles has rows of the epoch 7, which never began",
    ),
    "a checkpoint of no epoch": (
        "INSERT INTO log_checkpoints SELECT 7, size, at, note FROM log_latest",
        r"log: log_checkpoints has rows of the epoch 7, which never began",
    ),
    "a changed leaf of the head": (
        "UPDATE streams SET leaf = sha256('x') WHERE stream_id = 'thread_1'",
        r"thread_1 version 4: the leaf of the head is not that of the last event",
    ),
    "a removed range": (
        "DELETE FROM log_ranges WHERE stream_id = 'thread_1' AND first_version = 2",
        r"thread_1 version 2: the event was never sequenced.*|thread_\d: the log has a gap before index \d+.*",
    ),
    "a changed range": (
        "UPDATE log_ranges SET leaves = sha256('x') WHERE stream_id = 'thread_1' AND first_version = 2",
        r"thread_1 version 2: the event was replaced.*|log: the log was rewritten or forked.*",
    ),
    "a range of another actor": (
        "UPDATE log_ranges SET actor = 'key:key_other' WHERE stream_id = 'thread_1' AND first_version = 2",
        r"thread_1 version 2: the columns of the log's range are not those of the event",
    ),
    "a range of another type": (
        "UPDATE log_ranges SET types = '{thread.deleted}' WHERE stream_id = 'thread_1' AND first_version = 2",
        r"thread_1 version 2: the columns of the log's range are not those of the event",
    ),
    "a range of another time": (
        "UPDATE log_ranges SET at = '2001-01-01' WHERE stream_id = 'thread_1' AND first_version = 2",
        r"thread_1 version 2: the time of the log's range is not that of the event",
    ),
    "a range of a later time": (
        "UPDATE log_ranges SET at = 'infinity' WHERE stream_id = 'thread_2' AND count > 1",
        r"thread_2 version \d+: the time of the log's range is not that of the event",
    ),
    "an event of no time": (
        "UPDATE events SET at = 'infinity' WHERE stream_id = 'thread_1' AND version = 2",
        r"thread_1 version 2: the envelope was changed.*",
    ),
    "a range with fewer types": (
        "UPDATE log_ranges SET types = types[1:1] WHERE stream_id = 'thread_2' AND count > 1",
        r"thread_2 version \d+: the (log's range was changed: it has other types than leaves|columns of .* the event)",
    ),
    "a range without types": (
        "UPDATE log_ranges SET types = '{}' WHERE stream_id = 'thread_1' AND first_version = 2",
        r"thread_1 version 2: the (log's range was changed: it has other types than leaves|columns of .* the event)",
    ),
    "two ranges that changed places": (
        "UPDATE log_ranges SET first_index = -first_index - 1 WHERE first_index IN (1, 2);"
        "UPDATE log_ranges SET first_index = 4 + first_index WHERE first_index < 0",
        r"log: the log was rewritten or forked.*",
    ),
    "a truncated log": (
        "DELETE FROM log_ranges WHERE first_index = (SELECT max(first_index) FROM log_ranges)",
        r"file-1 version 1: the event was never sequenced.*|log: the checkpoint of \d+ events .* older backup"
        r"|log: the newest checkpoint is of 17 events, but the log has 16",
    ),
    "a changed checkpoint": (
        "UPDATE log_latest SET note = replace(note, E'\\n', E'\\n0')",
        r"log: the checkpoint of \d+ events in the database was changed: .*",
    ),
    "a newest checkpoint without a note": (
        "UPDATE log_latest SET note = NULL",
        r"log: the newest checkpoint was removed from the database",
    ),
    "a newest checkpoint of a later epoch": (
        "UPDATE log_latest SET epoch = epoch + 1",
        r"log: the newest checkpoint is of the epoch 2, which never began",
    ),
    "a newest checkpoint of an earlier epoch": (
        "UPDATE log_latest SET epoch = 0, size = 0",
        r"log: the newest checkpoint is of the epoch 0, which never began",
    ),
    "a newest checkpoint beyond the log": (
        "UPDATE log_latest SET size = 9000000000",
        r"log: the (checkpoint of 9000000000 .* changed: .*|newest checkpoint is of 9000000000 .* 17)",
    ),
    "a checkpoint of another root": (
        "UPDATE log_latest SET note = split_part(note, E'\\n', 1) || E'\\n' || split_part(note, E'\\n', 2) || E'\\n'"
        " || encode(sha256('x'), 'base64') || E'\\n\\n' || split_part(note, E'\\n', 5) || E'\\n'",
        r"log: the checkpoint of \d+ events in the database was changed: the signature of .* is wrong",
    ),
}


@pytest.mark.parametrize("case", CARELESS)
async def test_a_change_is_named(case: str, filled: Connection, database_url: str, blobs: FolderBlobs) -> None:
    change, expected = CARELESS[case]
    key = verifier_key(await load_epoch(filled), SIGNER)
    await filled.execute(change)
    found = await verify(database_url, blobs, Scope(keys=[key]))
    assert found, "the change is not seen"
    assert [line for line in found if not re.fullmatch(expected, line)] == []


async def test_a_rewritten_content_with_all_its_hashes(filled: Connection, database_url: str) -> None:
    """The forger computes all leaves of the stream again, and rebuilds the views. The log has the old leaves."""
    forged = (await json_of(filled, "thread_1", 2)).replace(b"one", b"two")
    await forge_content(filled, "thread_1", 2, forged)
    await rebuild(filled, ["thread_1"])
    found = await verify(database_url)
    assert found[0] == "thread_1 version 2: the event was replaced: the log has another one at this version"


async def test_a_rewritten_log(filled: Connection, database_url: str) -> None:
    """The forger rewrites the ranges too. The signed checkpoint has another root."""
    forged = (await json_of(filled, "thread_1", 2)).replace(b"one", b"two")
    await forge_content(filled, "thread_1", 2, forged, with_log=True)
    await rebuild(filled, ["thread_1"])
    found = await verify(database_url)
    assert len(found) == 1
    assert re.fullmatch(r"log: the log was rewritten or forked: it has another root than .*", found[0])


async def test_a_rewritten_log_with_its_checkpoints(filled: Connection, database_url: str) -> None:
    """The forger removes the checkpoints from the database as well. A checkpoint that was kept elsewhere shows it."""
    kept = Checkpoint.parse(Note.parse(await filled.fetchval("SELECT note FROM log_latest")).text)
    forged = (await json_of(filled, "thread_1", 2)).replace(b"one", b"two")
    await forge_content(filled, "thread_1", 2, forged, with_log=True)
    await rebuild(filled, ["thread_1"])
    await filled.execute("DELETE FROM log_checkpoints; UPDATE log_latest SET size = 0, note = NULL")
    assert await verify(database_url) == []
    found = await verify(database_url, scope=Scope(known=[KnownCheckpoint(kept, "the checkpoint kept.txt")]))
    assert found[0].startswith("log: the log was rewritten or forked: it has another root than the checkpoint kept.txt")
    older = "log: the newest checkpoint in the database, of 0 events, is older than the checkpoint kept.txt"
    assert found[1:] == [older]


async def test_a_rewritten_log_names_the_event_if_its_tile_is_stored(
    pool: Pool, filled: Connection, database_url: str, tmp_path: Path
) -> None:
    write = writer(pool)
    await make_thread(write, "thread_3", *map(str, range(260)))
    await seal_all(filled)
    await CheckpointSigner(pool, Processes(), SIGNER, clock=CLOCK, folder=CheckpointFolder(tmp_path / "audit")).scan()
    assert await filled.fetchval("SELECT count(*) FROM log_tiles") == 1
    forged = (await json_of(filled, "thread_3", 7)).replace(b'"5"', b'"6"')
    await forge_content(filled, "thread_3", 7, forged, with_log=True)
    await rebuild(filled, ["thread_3"])
    found = await verify(database_url)
    assert re.fullmatch(
        r"thread_3 version 7: the log was rewritten: the stored tile has another leaf at index \d+", found[0]
    )


async def test_a_changed_tile(pool: Pool, filled: Connection, database_url: str, tmp_path: Path) -> None:
    """The tiles of all levels and their roots follow from the leaves."""
    await fill(filled, 256 * 256 + 5)
    await CheckpointSigner(pool, Processes(), SIGNER, clock=CLOCK, folder=CheckpointFolder(tmp_path / "audit")).scan()
    tiles = "SELECT count(*) FROM log_tiles WHERE level = $1"
    assert [await filled.fetchval(tiles, level) for level in (0, 1)] == [256, 1]
    assert (await log_check.check_log(filled, [], [])).faults == []
    for change, text in (
        ("root = sha256('x') WHERE level = 0 AND number = 9", "the root of the stored tile 9 at level 0 was changed"),
        ("root = sha256('x') WHERE level = 1", "the root of the stored tile 0 at level 1 was changed"),
        ("hashes = hashes || 'x' WHERE level = 1", "the stored tile 0 at level 1 was changed"),
    ):
        own = filled.transaction()
        await own.start()
        await filled.execute(f"UPDATE log_tiles SET {change}")
        assert [fault.text for fault in (await log_check.check_log(filled, [], [])).faults] == [text]
        await own.rollback()


async def test_a_newest_checkpoint_that_was_moved_back(
    pool: Pool, filled: Connection, database_url: str, tmp_path: Path
) -> None:
    [old] = await filled.fetch("SELECT size, note FROM log_latest")
    await make_thread(writer(pool), "thread_3", "one")
    await seal_all(filled)
    folder = CheckpointFolder(tmp_path / "audit")
    await CheckpointSigner(pool, Processes(), SIGNER, clock=CLOCK, folder=folder).scan()
    note = await filled.fetchval("SELECT note FROM log_latest")
    known = KnownCheckpoint(Checkpoint.parse(Note.parse(note).text), "the checkpoint kept.txt")
    assert await verify(database_url, scope=Scope(known=[known])) == []
    await filled.execute("UPDATE log_latest SET size = $1, note = $2", *old)
    text = "log: the newest checkpoint in the database, of 17 events, is older than the checkpoint kept.txt"
    assert await verify(database_url, scope=Scope(known=[known])) == [text]


async def test_a_key_that_only_the_database_vouches_for(
    pool: Pool, filled: Connection, database_url: str, tmp_path: Path
) -> None:
    """The administrator records a key of his own and signs with it: no checkpoint of the given key covers that."""
    epoch, other = await load_epoch(filled), LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
    given, own = verifier_key(epoch, SIGNER), verifier_key(epoch, other)
    origin = Origin(INSTALLATION_PROJECT, ProcessActor(1))
    for command in (CreateInstallation("one"), UseLogKey(str(own))):
        await writer(pool).write(INSTALLATION, origin, INSTALLATION_ID, command)
    await seal_all(filled)
    await CheckpointSigner(pool, Processes(), other, clock=CLOCK, folder=CheckpointFolder(tmp_path / "own")).scan()
    found = await verified(database_url, scope=Scope(keys=[given]))
    text = "is signed by a key that only the database vouches for, and no checkpoint of the given key covers it"
    assert [str(fault) for fault in found.faults] == [
        f"log: the checkpoint of {found.log_size} events in the database {text}"
    ]
    assert found.unvouched == 1
    # The key that is in use now covers the checkpoints of one that was in use before.
    assert (await verified(database_url, scope=Scope(keys=[own]))).faults != []  # its predecessor was never recorded
    await writer(pool).write(INSTALLATION, origin, INSTALLATION_ID, UseLogKey(str(given)))
    await seal_all(filled)
    await CheckpointSigner(pool, Processes(), SIGNER, clock=CLOCK, folder=CheckpointFolder(tmp_path / "audit")).scan()
    found = await verified(database_url, scope=Scope(keys=[given]))
    assert (found.faults, found.unvouched) == ([], 0)
    await filled.execute("DELETE FROM log_checkpoints; UPDATE log_latest SET size = 0, note = NULL")
    [fault] = await verify(database_url, scope=Scope(keys=[given]))
    assert fault == "log: the database has no checkpoint of the log, so the given key signed none"


async def test_a_changed_client_of_a_request(pool: Pool, filled: Connection, database_url: str) -> None:
    first, other = (seal_client(ClientFacts(address), bytes(32)) for address in ("192.0.2.1", "192.0.2.2"))
    origin = replace(ORIGIN, request_id="req_1", client=commit_client(first))
    await writer(pool).write(PROJECT, origin, "proj_2", CreateProject("two"))
    await seal_all(filled)
    await filled.execute("INSERT INTO request_clients VALUES ('req_1', now(), $1)", first)
    assert await verify(database_url) == []
    await filled.execute("UPDATE request_clients SET content = $1", other)
    text = "the row req_1 of request_clients was changed: the event commits to another client"
    assert await verify(database_url) == [f"proj_2 version 1: {text}"]


async def test_an_epoch_that_no_event_began(pool: Pool, filled: Connection, database_url: str, tmp_path: Path) -> None:
    origin = Origin(INSTALLATION_PROJECT, ProcessActor(1))
    await writer(pool).write(INSTALLATION, origin, INSTALLATION_ID, CreateInstallation("one"))
    await check_history(writer(pool), CheckpointFolder(tmp_path / "none"), origin, reason="a new disk")
    assert (await load_epoch(filled)).epoch == 2
    assert await verify(database_url) == []
    [old] = await filled.fetch("SELECT size, at, note FROM log_latest")
    folder = CheckpointFolder(tmp_path / "audit")
    await CheckpointSigner(pool, Processes(), SIGNER, clock=CLOCK, folder=folder).scan()
    assert await verify(database_url) == []
    change = "UPDATE log_latest SET epoch = 1, size = $1, at = $2, note = $3"
    await filled.execute(change, *old)
    text = "log: the newest checkpoint is of the epoch 1, but the epoch 2 has checkpoints"
    assert await verify(database_url) == [text]
    await filled.execute(
        "UPDATE log_epochs SET first_index = 8 WHERE epoch = 2;"
        "DELETE FROM log_checkpoints; UPDATE log_latest SET size = 0, note = NULL"
    )
    text = "log: no event begins the epoch 2: its row of log_epochs was inserted or changed"
    assert text in await verify(database_url)


async def test_an_older_backup(pool: Pool, filled: Connection, database_url: str) -> None:
    """The database is older than the checkpoint that was kept elsewhere."""
    epoch = await load_epoch(filled)
    newer = KnownCheckpoint(Checkpoint(epoch.origin, 1000, bytes(32)), "the checkpoint kept.txt")
    found = await verify(database_url, scope=Scope(known=[newer]))
    assert len(found) == 1
    assert found[0].endswith("the log was truncated, or the database is an older backup")
    other = KnownCheckpoint(Checkpoint("everthread/other/1", 1, bytes(32)), "the checkpoint other.txt")
    [fault] = await verify(database_url, scope=Scope(known=[other]))
    assert fault == "log: the checkpoint other.txt is of the log everthread/other/1, which this database does not know"


async def test_an_event_that_was_never_sequenced(pool: Pool, filled: Connection, database_url: str) -> None:
    await make_thread(writer(pool), "thread_5", "one")
    assert await verify(database_url) == []
    await filled.execute("DELETE FROM log_pending WHERE first_version = 2")
    text = "the event was never sequenced: the log does not have it, and it does not wait for it"
    assert await verify(database_url) == [f"thread_5 version 2: {text}"]


async def test_swapped_and_missing_bytes(filled: Connection, database_url: str, blobs: FolderBlobs) -> None:
    await blobs.delete(["blob_1"])
    assert await verify(database_url, blobs) == ["file-1: the bytes of the file are missing: blob_1"]
    await blobs.write("blob_1", _chunks(BYTES.replace(b"1828", b"1829")))
    assert await verify(database_url, blobs) == ["file-1: the bytes of the file were changed: blob_1"]
    await filled.execute("UPDATE files SET blob = 'blob_2'")
    assert "file-1: the row file-1 of files was changed" in await verify(database_url, blobs)


async def test_one_stream(filled: Connection, database_url: str) -> None:
    await filled.execute("DELETE FROM messages WHERE message_id = 'msg_2'")
    assert (await verified(database_url, scope=Scope(stream_id="thread_2"))).faults == []
    found = await verified(database_url, scope=Scope(stream_id="thread_1"))
    assert (found.streams, found.events, len(found.faults)) == (1, 4, 1)


async def test_a_stream_since_a_time(filled: Connection, database_url: str) -> None:
    found = await verified(database_url, scope=Scope(since=CLOCK.now() + timedelta(hours=1)))
    assert (found.streams, found.events, found.log_size) == (0, 0, 17)


async def test_a_head_of_another_time_hides_no_stream(filled: Connection, database_url: str) -> None:
    """The time of a head, which nothing commits to, says not that its stream can be left out."""
    for at in ("1960-01-01", "-infinity"):
        await filled.execute(f"UPDATE streams SET at = '{at}' WHERE stream_id = 'thread_1'")
        text = "thread_1 version 4: the head has another project or time than the events"
        found = await verified(database_url)
        assert ([str(fault) for fault in found.faults], found.streams) == ([text], 5)
        assert await verify(database_url, scope=Scope(since=CLOCK.now() - timedelta(hours=1))) == [text]
    await filled.execute("UPDATE log_ranges SET at = '1960-01-01' WHERE stream_id = 'thread_1'")
    assert await verify(database_url, scope=Scope(since=CLOCK.now() - timedelta(hours=1)))


@pytest.mark.slow
async def test_a_row_of_a_thread_whose_key_was_destroyed(pool: Pool, filled: Connection, database_url: str) -> None:
    rows = [tuple(row.values()) for row in await filled.fetch("SELECT * FROM messages WHERE thread_id = 'thread_1'")]
    await writer(pool).thread(ORIGIN, "thread_1", DeleteThread())
    await seal_all(filled)
    await filled.execute(
        r"UPDATE events SET content = '\x0045547365616c01'::bytea || content WHERE stream_id = 'thread_1'"
    )
    before = set(await verify(database_url))
    await filled.copy_records_to_table("messages", records=rows)
    found = set(await verify(database_url)) - before
    assert len(found) == len(rows) == 3
    assert all(
        re.fullmatch(r"thread_1: the row \w+ of messages was inserted: no event leads to it", line) for line in found
    )


@pytest.mark.slow
async def test_rows_of_other_objects_whose_keys_were_destroyed(
    pool: Pool, filled: Connection, database_url: str
) -> None:
    """A row that is put back for a deleted object, or changed back, is named, for each kind that is erased."""
    write = writer(pool)
    store = CreateStore("guides", None, {}, None, "model", [NewFile("file-1", "a.txt", 9, {}, None)])
    await write.write(VECTOR_STORE, ORIGIN, "vs_1", store)
    await write.write(
        WEBHOOK_ENDPOINT, ORIGIN, "we_1", CreateEndpoint("https://example.com/", None, ("run.completed",))
    )
    streams: tuple[tuple[str, Any, Any, tuple[str, ...]], ...] = (
        ("asst_1", ASSISTANT, DeleteAssistant(), ("assistants", "metadata_pairs")),
        ("file-1", FILE, DeleteFile(), ("files",)),
        ("vs_1", VECTOR_STORE, DeleteStore(), ("vector_stores", "vector_store_files")),
        ("we_1", WEBHOOK_ENDPOINT, DeleteEndpoint(), ("webhook_endpoints",)),
    )
    kept = {}
    for id, stream_type, delete, tables in streams:
        for table in tables:
            kept[id, table] = [tuple(row.values()) for row in await filled.fetch(f"SELECT * FROM {table}")]
        await write.write(stream_type, ORIGIN, id, delete)
    await seal_all(filled)
    await filled.execute(
        r"UPDATE events SET content = '\x0045547365616c01'::bytea || content WHERE stream_id = ANY ($1)",
        [id for id, *_ in streams],
    )
    before = await verify(database_url)
    assert [line for line in before if "the row" in line] == []
    for (_, table), rows in kept.items():
        await filled.execute(f"DELETE FROM {table}")
        await filled.copy_records_to_table(table, records=rows)
    found = set(await verify(database_url)) - set(before)
    assert {(line.split(":")[0], line.split(" of ")[1].split()[0]) for line in found} == set(kept)
    await filled.execute("DELETE FROM assistants; DELETE FROM files; DELETE FROM vector_stores")
    removed = {line.split(":")[0] for line in await verify(database_url) if "deleted object was removed" in line}
    assert removed == {"asst_1", "file-1", "vs_1"}


def test_every_table_is_verified_or_named_as_not_covered() -> None:
    """The sources of the queries of a verification, and docs/audit.md."""
    section = Path("docs/audit.md").read_text().partition("### What it does not cover")[2].partition("\n## ")[0]
    sources = "\n".join(text for name in ("verify", "log_tree") for text in sql.queries(name).values())
    verified = {table for tables in TABLES.values() for table in tables} | set(re.findall(r"\b[a-z_]+\b", sources))
    assert [
        name for name in (*table_names(), "live_deltas") if name not in verified and f"`{name}`" not in section
    ] == []


async def test_several_processes_share_the_streams(
    filled: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "FEW_EVENTS", 0)
    monkeypatch.setattr(verification, "BATCH_STREAMS", 2)
    await filled.execute("DELETE FROM messages WHERE message_id = 'msg_2'")
    found = await verified(database_url, scope=Scope(processes=2))
    assert [str(fault) for fault in found.faults] == ["thread_1: the row msg_2 of messages was removed"]
    assert (found.streams, found.events) == (5, 17)


async def test_every_table_of_the_views_is_verified(db: Connection) -> None:
    """Each table that the operations of appends change is one of a stream type's views, whose rows are compared."""
    changed = {path.stem for path in (Path(sql.__file__).parent / "rows").glob("*.sql")}
    others = {"streams", "events", "log_pending", "stream_keys", "webhook_deliveries", "idempotency_effects"}
    assert {table for tables in TABLES.values() for table in tables} == changed - others
    assert {f"rows_{table}" for table in changed - others} <= set(sql.queries("rebuild"))


async def test_a_changed_attribute_of_a_file_in_a_store(pool: Pool, filled: Connection, database_url: str) -> None:
    """Numbers that Python takes for equal are not the same in the row."""
    attributes = {"page": 1.0, "isbn": 1e16, "new": True}
    created = CreateStore("guides", None, {}, None, "model", [NewFile("file-1", "a.txt", 9, attributes, None)])
    await writer(pool).write(VECTOR_STORE, ORIGIN, "vs_1", created)
    await seal_all(filled)
    assert await verify(database_url) == []
    for text in ('{"new": 1, "isbn": 1e16, "page": 1.0}', '{"new": true, "isbn": 1e16, "page": 1}'):
        await filled.execute("UPDATE vector_store_files SET attributes = $1", text)
        assert await verify(database_url) == ["vs_1: the row file-1 of vector_store_files was changed"]


@pytest.mark.parametrize("events", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_random_histories_have_no_faults(
    pool: Pool, db: Connection, database_url: str, tmp_path: Path, events: int
) -> None:
    """Several processes write, sequencers crash at every step, and verification runs meanwhile."""
    random, written = Random(events), 0
    signer = CheckpointSigner(pool, Processes(), SIGNER, clock=CLOCK, folder=CheckpointFolder(tmp_path / "audit"))

    async def write(number: int) -> None:
        nonlocal written
        process, world = writer(pool), World(Random(number), f"thread_{number}_0", lifetimes=(0, 600, 600, 600))
        while written < events:
            if len(world.log) > 200 or (not world.state.exists and world.log):
                world = World(Random(written), f"thread_{number}_{written}", lifetimes=(0, 600, 600, 600))
            with suppress(DomainError):
                result = await process.thread(ORIGIN, world.state.id, world.next_command())
                world.absorb(result.recorded)
                written += len(result.recorded)

    async def step() -> Step:
        return random.choices((Step.RUN, Step.CRASH_BEFORE, Step.CRASH_AFTER), (8, 1, 1))[0]

    async def sequence() -> None:
        while True:
            async with pool.acquire() as connection:
                with suppress(Crash, asyncpg.UniqueViolationError):
                    await seal_batch(SteppedConnection(connection, step), limit=random.choice((3, 50)))  # type: ignore[arg-type]
            await asyncio.sleep(0)

    async def check() -> None:
        while True:
            await signer.scan()
            assert await verify(database_url) == []

    async with background(sequence(), sequence(), check()):
        await asyncio.gather(*(write(number) for number in range(4)))
    await seal_all(db)
    assert await check_log(db) >= events
    await signer.scan()
    found = await verified(database_url, scope=Scope(keys=[verifier_key(await load_epoch(db), SIGNER)]))
    assert found.faults == []
    assert found.events == await db.fetchval("SELECT count(*) FROM events")
