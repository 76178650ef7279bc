"""The connections to Postgres of several workers, so that all of them fit into its `max_connections`."""

from __future__ import annotations

import sql
from service.database import POOL_MAX, connect
from service.errors import StartupError

_SQL = sql.queries("health")
# Connections of a process beside its pool: the one of its lock, and those of checks and rebuilds.
OTHER_CONNECTIONS = 4
# Connections that are kept for migrations, commands and people, and those that Postgres reserves.
KEPT_CONNECTIONS = 12
# The smallest pool with which a server works well.
SMALLEST_POOL = 3


def needed_connections(workers: int) -> int:
    """Returns the connections that so many workers use at most, with one more that takes the place of another."""
    return (workers + 1) * (POOL_MAX + OTHER_CONNECTIONS) + KEPT_CONNECTIONS


def divide_connections(connections: int, workers: int) -> int:
    """Returns the size of each worker's pool if Postgres accepts so many connections. Raises StartupError."""
    size = (connections - KEPT_CONNECTIONS) // (workers + 1) - OTHER_CONNECTIONS
    if size < SMALLEST_POOL:
        least = (workers + 1) * (SMALLEST_POOL + OTHER_CONNECTIONS) + KEPT_CONNECTIONS
        raise StartupError(
            f"{workers} workers need a Postgres with max_connections of at least {least}, and it has {connections}"
        )
    return min(size, POOL_MAX)


async def find_pool_size(url: str, workers: int) -> int:
    """Returns the size of each worker's pool over this database. Raises StartupError."""
    db = await connect(url)
    try:
        return divide_connections(await db.fetchval(_SQL["max_connections"]), workers)
    finally:
        await db.close()
