"""The tables of vectors, one a model: made with the model's first vector, since only that tells its size."""

from __future__ import annotations

from dataclasses import dataclass

import sql
from service.database import Pool
from service.search.embed.base import EmbeddingError
from sql.connection import Connection

# Any number that no other program takes for its advisory locks: it keeps two processes from making one model's table.
LOCK = 0x4556_5649
# What the index of pgvector can hold, as numbers of four bytes and of two. Larger vectors are always searched exactly.
MAX_VECTOR, MAX_HALFVEC = 2_000, 4_000
DDL_TIMEOUT = 60.0

_SQL = sql.queries("chunks")


@dataclass(frozen=True, slots=True)
class Model:
    id: int
    dimensions: int

    @property
    def indexed(self) -> bool:
        return self.dimensions <= MAX_HALFVEC

    def changed(self, name: str, dimensions: int) -> str:
        """What to say where vectors of another size come."""
        return (
            f"The model '{name}' gives vectors of {dimensions} numbers now and gave {self.dimensions} before: it is"
            " another model, and needs another name."
        )

    def adapt(self, block: str) -> str:
        """A block that was written for 384 dimensions and no certain model, for this one."""
        kind = "halfvec" if MAX_VECTOR < self.dimensions <= MAX_HALFVEC else "vector"
        own = block.replace("vector(384)", f"{kind}({self.dimensions})").replace("vectors_0", f"vectors_{self.id}")
        own = own.replace("vector_cosine_ops", f"{kind}_cosine_ops")
        return own.replace("FROM vectors v", f"FROM vectors_{self.id} v").replace("IN (0)", f"IN ({self.id})")


class Models:
    """What is known of each model by its name; found out once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[str, Model] = {}

    async def find(self, db: Connection, name: str) -> Model | None:
        """None for a model that has no vectors yet."""
        known = self._known.get(name)
        if known is None:
            row = await db.fetchrow(_SQL["model"], name)
            if row is None:
                return None
            known = self._known[name] = Model(row["model_id"], row["dimensions"])
        return known

    async def take(self, name: str, dimensions: int) -> Model:
        """The model, made where it is new. Raises EmbeddingError where its vectors had another size until now."""
        async with self._pool.acquire() as db:
            known = await self.find(db, name)
            if known is None:
                known = await self._make(db, name, dimensions)
        if known.dimensions != dimensions:
            raise EmbeddingError(known.changed(name, dimensions))
        return known

    async def _make(self, db: Connection, name: str, dimensions: int) -> Model:
        async with db.transaction():
            await db.execute(_SQL["lock_models"], LOCK, timeout=DDL_TIMEOUT)
            known = await self.find(db, name)  # another process may have been faster
            if known is not None:
                return known
            made = Model(await db.fetchval(_SQL["insert_model"], name, dimensions), dimensions)
            await db.execute(made.adapt(_SQL["make_vectors"]), timeout=DDL_TIMEOUT)
            if made.indexed:
                await db.execute(made.adapt(_SQL["make_index"]), timeout=DDL_TIMEOUT)
        return made
