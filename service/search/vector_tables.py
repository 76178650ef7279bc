"""The tables of vectors, one for each embedding model.

A table is created with the model's first vector, because only a vector shows the model's number of dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import sql
from service.database import Pool
from service.search.embed.base import EmbeddingError
from sql.connection import Connection

# The key of the advisory lock that keeps two processes from creating the table of the same model. The number is
# arbitrary; it only has to differ from the keys of other programs.
LOCK = 0x4556_5649
# The greatest number of dimensions that an index of pgvector holds, with four bytes a number and with two. Larger
# vectors are always searched exactly.
MAX_VECTOR, MAX_HALFVEC = 2_000, 4_000
DDL_TIMEOUT = 60.0

_SQL = sql.queries("chunks")


@dataclass(frozen=True, slots=True)
class VectorTable:
    """The table that holds the vectors of one embedding model."""

    model_id: int
    dimensions: int

    @property
    def has_index(self) -> bool:
        return self.dimensions <= MAX_HALFVEC

    def size_error(self, name: str, dimensions: int) -> str:
        """Returns the error text for a vector of another size."""
        return (
            f"The model '{name}' gives vectors of {dimensions} numbers now and gave {self.dimensions} before: it is"
            " another model, and needs another name."
        )

    def adapt(self, block: str) -> str:
        """Returns a block of SQL, written for vectors of 384 dimensions in the table `vectors_0`, for this table.

        The tables are in the schema `search`, which belongs to the service's role.
        """
        vector_type = "halfvec" if MAX_VECTOR < self.dimensions <= MAX_HALFVEC else "vector"
        table = f"search.vectors_{self.model_id}"
        adapted = block.replace("vector(384)", f"{vector_type}({self.dimensions})").replace("vectors_0", table)
        adapted = adapted.replace("vector_cosine_ops", f"{vector_type}_cosine_ops")
        return adapted.replace("FROM vectors v", f"FROM {table} v").replace("IN (0)", f"IN ({self.model_id})")


class VectorTables:
    """The vector tables by the names of their models. Each is looked up in the database once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[str, VectorTable] = {}

    async def find(self, db: Connection, name: str) -> VectorTable | None:
        """Returns the model's table, or None if the model has no vectors yet."""
        known = self._known.get(name)
        if known is None:
            row = await db.fetchrow(_SQL["model"], name)
            if row is None:
                return None
            known = self._known[name] = VectorTable(row["model_id"], row["dimensions"])
        return known

    async def find_or_create(self, name: str, dimensions: int) -> VectorTable:
        """Returns the model's table. Raises EmbeddingError if the table's vectors have another size."""
        async with self._pool.acquire() as db:
            known = await self.find(db, name)
            if known is None:
                known = await self._create(db, name, dimensions)
        if known.dimensions != dimensions:
            raise EmbeddingError(known.size_error(name, dimensions))
        return known

    async def _create(self, db: Connection, name: str, dimensions: int) -> VectorTable:
        async with db.transaction():
            await db.execute(_SQL["lock_models"], LOCK, timeout=DDL_TIMEOUT)
            known = await self.find(db, name)  # another process may have created it before we got the lock
            if known is not None:
                return known
            table = VectorTable(await db.fetchval(_SQL["insert_model"], name, dimensions), dimensions)
            await db.execute(table.adapt(_SQL["create_vector_table"]), timeout=DDL_TIMEOUT)
            if table.has_index:
                await db.execute(table.adapt(_SQL["create_vector_index"]), timeout=DDL_TIMEOUT)
        return table
