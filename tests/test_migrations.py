"""Requirements on a database, reported in one line if it does not meet them."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import pytest

from service import migrations
from service.database import connect
from service.errors import StartupError
from service.migrations import prepare_database
from sql.connection import Connection


async def test_pgvector_that_is_missing_and_may_not_be_made(database_url: str, db: Connection) -> None:
    await db.execute("CREATE ROLE plain")
    await db.execute("CREATE DATABASE bare OWNER plain")
    try:
        parts = urlsplit(database_url)
        url = urlunsplit(parts._replace(path="/bare", query=parts.query + "&role=plain"))
        with pytest.raises(StartupError, match=r"^The database's role may not .*CREATE EXTENSION vector.*\.$"):
            await prepare_database(url)
        superuser = await connect(urlunsplit(parts._replace(path="/bare")))
        await superuser.execute("CREATE EXTENSION vector")
        await superuser.close()
        await prepare_database(url)
    finally:
        await db.execute("DROP DATABASE bare WITH (FORCE)")
        await db.execute("DROP ROLE plain")


async def test_pgvector_that_is_too_old(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "OLDEST_VECTOR", (99, 0))
    with pytest.raises(StartupError, match=r"^pgvector 0\.8 or newer is needed; the database has .* UPDATE\.$"):
        await prepare_database(database_url)
