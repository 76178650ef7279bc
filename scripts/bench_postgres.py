"""The Postgres of `scripts/bench`: CPU time, statements, dead rows and sizes of each target's database."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from service.embedded.postgres import EmbeddedPostgres

DATABASES = ("relay", "everthread")
# Seconds until all backends use a setting that was just changed, and until their statistics are visible.
SETTLE_S = 0.3
FLUSH_S = 1.5
_LOGGED = re.compile(r"^\[(\w*)\]LOG:  (?:statement|execute [^:]*): (.*)")
# asyncpg's own pool sends it when a connection is returned. The goals for the number of statements do not count it.
_RESET = "SELECT pg_advisory_unlock_all()"
_TABLES = """
SELECT relname AS name, n_live_tup AS live, n_dead_tup AS dead, n_tup_upd AS updates, n_tup_hot_upd AS hot_updates,
       pg_table_size(relid) AS table_bytes, pg_indexes_size(relid) AS index_bytes
FROM pg_stat_user_tables WHERE n_tup_ins > 0 ORDER BY pg_total_relation_size(relid) DESC
"""


@dataclass(frozen=True, slots=True)
class TableSize:
    """Rows of a table that are alive and dead, its updates and those that were HOT, and its size in bytes."""

    name: str
    live: int
    dead: int
    updates: int
    hot_updates: int
    table_bytes: int
    index_bytes: int


class BenchPostgres:
    """An embedded Postgres, as durable as that of a server, with a database for each target."""

    def __init__(self, embedded: EmbeddedPostgres, log: Path, monitor: asyncpg.Connection[Any]) -> None:
        self._embedded = embedded
        self._log = log
        self._monitor = monitor

    @classmethod
    @asynccontextmanager
    async def started(cls, home: Path) -> AsyncIterator[BenchPostgres]:
        embedded = EmbeddedPostgres(home)
        url = await embedded.start()
        try:
            monitor = await asyncpg.connect(url, database="postgres")
            await monitor.execute("CREATE DATABASE relay")
            yield cls(embedded, home / "postgres" / "postgres.log", monitor)
            await monitor.close()
        finally:
            await embedded.stop()

    def url(self, database: str) -> str:
        """Returns the URL of a target's database."""
        return self._embedded.urls.owner.replace("/everthread?", f"/{database}?")

    async def cpu(self, database: str) -> dict[int, float]:
        """Returns the CPU time in seconds of each process that works for the database, by process id.

        Processes without a database of their own (checkpoints, WAL) work for the target that is being measured.
        """
        rows = await self._monitor.fetch(
            "SELECT pid FROM pg_stat_activity WHERE coalesce(datname, $1) = $1 AND pid <> pg_backend_pid()", database
        )
        return {row["pid"]: seconds for row in rows if (seconds := _cpu(row["pid"])) is not None}

    @asynccontextmanager
    async def count_statements(self, database: str) -> AsyncIterator[Counter[str]]:
        """Yields a counter of the statements that the database executes in the context; it is filled at the end."""
        counts: Counter[str] = Counter()
        for setting in ("log_statement = 'all'", "log_parameter_max_length = 0", "log_line_prefix = '[%d]'"):
            await self._monitor.execute(f"ALTER SYSTEM SET {setting}")
        await self._reload()
        start = self._log.stat().st_size
        yield counts
        await self._monitor.execute("ALTER SYSTEM RESET ALL")
        await self._reload()
        with self._log.open() as log:
            log.seek(start)
            counts.update(parse_statements(log.read(), database))

    async def table_sizes(self, database: str) -> list[TableSize]:
        """Returns the tables that have got rows, the largest first."""
        await asyncio.sleep(FLUSH_S)
        db = await asyncpg.connect(self.url(database))
        try:
            return [TableSize(**dict(row)) for row in await db.fetch(_TABLES)]
        finally:
            await db.close()

    async def _reload(self) -> None:
        await self._monitor.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(SETTLE_S)


def cpu_between(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Returns the CPU time of the processes between two readings. The time of processes that have ended is lost."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def _cpu(pid: int) -> float | None:
    """Returns the CPU time of a process with one thread; None if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return None


def parse_statements(log: str, database: str) -> list[str]:
    """Returns the statements that the log has for the database, each on one line. Further lines begin with a tab."""
    found: list[str] = []
    is_inside = False
    for line in log.splitlines():
        if is_inside and line.startswith("\t"):
            found[-1] += " " + line
            continue
        logged = _LOGGED.match(line)
        is_inside = logged is not None and logged[1] == database
        if logged is not None and is_inside:
            found.append(logged[2])
    texts = (" ".join(text.split()) for text in found)
    return [text for text in texts if not text.startswith(_RESET)]
