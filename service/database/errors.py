"""Errors of the database that are worth another try."""

from __future__ import annotations

import asyncpg

from service.secrets.key_ring import KeyMissing
from sql.row_operations import OutdatedSoftware

# Errors that mean that the database is away or overloaded for now, not that a query is wrong. Worth another try.
DATABASE_ERRORS = (
    OSError,
    asyncpg.InterfaceError,
    # asyncpg raises it if it uses a connection that the server is just closing.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    # This process was frozen in a transaction.
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    # A role, a database or a primary that is being changed: also worth waiting for.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    # Newer software does the work: this process waits for its end (`service.processes.peers`).
    OutdatedSoftware,
    # A rotation has begun, and the source of the keys does not give the new one yet.
    KeyMissing,
)


class DatabaseBusy(TimeoutError):
    """The database works, but more callers want connections than it can serve. The message says so."""
