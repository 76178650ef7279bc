"""Keys and projects: lookup, lists, and their rebuild from the log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from events.actors import CommandLineActor, KeyActor
from events.api_key import CreateKey, RevokeKey
from events.envelope import Origin
from events.errors import NotFound
from events.project import CreateProject
from events.streams import KEY, PROJECT
from projections import keys, projects, rebuild
from projections.keys import ListedKey
from projections.rebuild import verify
from service.database import Pool
from sql.connection import Connection
from tests.projections.helpers import ORIGIN, OTHER, writer

HASH = "ab" * 32
CREATE = CreateKey("ci", "read", HASH, "wxyz", 60, None, 2)
T0 = datetime(2026, 1, 1, tzinfo=UTC)


async def listed(db: Connection, project_id: str | None = None) -> list[ListedKey]:
    return [key async for key in keys.list_keys(db, project_id)]


async def test_a_key_is_found_by_its_hash_until_it_is_revoked(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await write.write(KEY, ORIGIN, "key_1", CREATE)
    found = await keys.find_by_hash(db, bytes.fromhex(HASH))
    assert found is not None
    assert (found.id, found.project_id, found.scope, found.actor) == ("key_1", "proj_1", "read", KeyActor("key_1"))
    assert (found.requests_per_minute, found.tokens_per_minute, found.max_runs) == (60, None, 2)
    assert HASH not in repr(found)
    assert await keys.find_by_hash(db, bytes(32)) is None
    with pytest.raises(NotFound):
        await write.write(KEY, OTHER, "key_1", RevokeKey())
    written = await write.write(KEY, ORIGIN, "key_1", RevokeKey())
    assert await keys.find_by_hash(db, bytes.fromhex(HASH)) is None
    [row] = await listed(db)
    assert row.revoked_at == written.recorded[0].at
    assert await keys.project_of(db, "key_1") == "proj_1"
    with pytest.raises(NotFound):
        await keys.project_of(db, "key_2")


async def test_keys_are_listed_page_by_page(pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_LIST_PAGE", 2)
    write = writer(pool)
    for number in range(5):
        command = replace(CREATE, name=str(number), hash=f"{number:064x}")
        await write.write(KEY, OTHER if number == 3 else ORIGIN, f"key_{number}", command)
    assert [key.name for key in await listed(db)] == ["0", "1", "2", "3", "4"]
    assert [key.name for key in await listed(db, "proj_2")] == ["3"]


async def test_last_uses_only_go_on(pool: Pool, db: Connection) -> None:
    await writer(pool).write(KEY, ORIGIN, "key_1", CREATE)
    assert (await listed(db))[0].last_used_at is None
    await keys.record_last_uses(db, {"key_1": T0, "key_gone": T0})
    await keys.record_last_uses(db, {"key_1": T0 - timedelta(hours=1)})
    assert (await listed(db))[0].last_used_at == T0


async def test_projects_by_id_and_name(pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "_LIST_PAGE", 1)
    write = writer(pool)
    for number, name in ((1, "Research"), (2, "Sales"), (3, "Sales")):
        await write.write(PROJECT, Origin(f"proj_{number}", CommandLineActor()), f"proj_{number}", CreateProject(name))
    assert [found.name async for found in projects.list_projects(db)] == ["Research", "Sales", "Sales"]
    for named, ids in (("proj_1", ["proj_1"]), ("Sales", ["proj_2", "proj_3"]), ("sales", [])):
        assert [found.id for found in await projects.find(db, named)] == ids


async def test_rebuilt_as_served(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await write.write(KEY, ORIGIN, "key_1", CREATE)
    await write.write(KEY, ORIGIN, "key_1", RevokeKey())
    await write.write(PROJECT, Origin("proj_9", CommandLineActor()), "proj_9", CreateProject("Research"))
    await keys.record_last_uses(db, {"key_1": T0})
    for stream, table in (("key_1", "api_keys"), ("proj_9", "projects")):
        assert await verify(db, stream) == []
        await db.execute(f"DELETE FROM {table}")
        assert len(await verify(db, stream)) == 1
        await rebuild.rebuild(db, [stream])
        assert await verify(db, stream) == []
    assert (await listed(db))[0].last_used_at == T0
