"""Values that belong to no stream, encrypted under keys of the installation: stored answers, and secrets."""

from __future__ import annotations

from sql import queries
from sql.connection import Connection, key_store
from sql.sealed_columns import SEALED_TABLES

_SQL = queries("stream_keys")


async def seal_shared(db: Connection, table: str, key: object, column: str, value: bytes) -> bytes:
    """Returns the value for a column of the row with this key, encrypted if the installation is.

    The table's key in `SEALED_TABLES` begins with the name of the installation's key, which is made if it is missing.
    """
    store = key_store(db)
    if store is None:
        return value
    if not await store.is_on(db):
        # Postgres refuses a plain event once encryption has begun, but no plain value of these columns: a process that
        # has not appended since then must read the newest epoch again.
        store.ask_again()
        if not await store.is_on(db):
            return value
    owner = SEALED_TABLES[table].key[0].strip("'")
    found = (await store.find(db, [owner])).get(owner)
    if found is None:
        writing = await store.for_writing(db, owner, is_new=True)
        assert writing is not None
        assert writing.operation is not None
        # Another process may be faster: the row that is there counts.
        await db.execute(_SQL["add"], *(value for value in writing.operation.values))
        found = (await store.find(db, [owner]))[owner]
        if not db.is_in_transaction():
            store.keep(found)
    return found.seal(value, (table, owner, key, column))
