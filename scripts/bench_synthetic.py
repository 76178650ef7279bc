"""Synthetic stores for `scripts/bench search`: a number of chunks in one large store, and again in many small ones.

Each vector is one of the source store's, moved a little and scaled to length 1. Each text is made of words of that
store, with their frequencies. Every chunk has one vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from service.database import Pool
from service.search.embed.wheels import MINILM
from sql.connection import Connection

LARGE = "vs_large"
CHUNKS_PER_FILE = 50
SMALL = 100  # chunks of a small store
WORDS = 300
# One in this many files of the large store has the attribute.
PARTS = (2, 20, 200)
# Length of the normal step by which a vector is moved; the vector itself has length 1.
STEP = 0.6
BITE = 2_000
TIMEOUT = 3600.0


def small(number: int) -> str:
    return f"vs_small_{number}"


def stores(size: int) -> int:
    return max(1, size // SMALL)


async def clear(pool: Pool) -> None:
    async with pool.acquire() as db:
        for table in ("chunks", "vectors", "chunk_files", "chunk_words", "vector_store_files"):
            await db.execute(
                f"DELETE FROM {table} WHERE store_id LIKE 'vs\\_large%' OR store_id LIKE 'vs\\_small%'",
                timeout=TIMEOUT,
            )


async def held(pool: Pool) -> int:
    """Returns the number of chunks of the large store."""
    chunks: int = await pool.fetchval("SELECT count(*) FROM chunks WHERE store_id = $1", LARGE, timeout=TIMEOUT)
    return chunks


async def some(db: Connection, stores: Sequence[str], count: int) -> list[list[float]]:
    """Returns vectors from the whole of the source store."""
    rows = await db.fetch(
        "SELECT embedding::real[] AS vector FROM vectors WHERE store_id = ANY ($1)"
        " ORDER BY hashint8(job * 1000 + number) LIMIT $2",
        *(stores, count),
        timeout=TIMEOUT,
    )
    return [row["vector"] for row in rows]


async def make(pool: Pool, size: int, *, source: str) -> bool:
    """Makes the stores. Returns False if they exist already.

    Index and statistics are made after the rows, as in a database that is restored.
    """
    if await held(pool) == size:
        return False
    await clear(pool)
    noise = np.random.default_rng(size)
    async with pool.acquire() as db:
        model = await db.fetchval("SELECT model_id FROM embedding_models WHERE name = $1", MINILM.name)
        rows = await db.fetch("SELECT embedding::real[]::text AS vector_text FROM vectors WHERE store_id = $1", source)
        base = np.array([orjson.loads("[" + row["vector_text"][1:-1] + "]") for row in rows], dtype=np.float32)
        words = await db.fetch(
            "SELECT word, chunks FROM chunk_words WHERE store_id = $1 AND word <> $1 AND position(' ' IN word) = 0",
            source,
        )
        names = np.array([row["word"] for row in words])
        often = np.array([row["chunks"] for row in words], dtype=np.float64)
        index = await db.fetchval(
            "SELECT schemaname || '.' || indexname FROM pg_indexes WHERE indexdef LIKE '%hnsw%' AND tablename = $1",
            f"vectors_{model}",
        )
        made = await db.fetchval("SELECT pg_get_indexdef($1::regclass)", index)
        await db.execute(f"DROP INDEX {index}")
        for store, first, count in _parts(size):
            await _fill(db, model, store, first, count, base, names, often / often.sum(), noise)
        await db.execute(
            "INSERT INTO chunk_words SELECT store_id, lexeme, count(*) FROM chunks CROSS JOIN LATERAL unnest(words)"
            " WHERE store_id LIKE 'vs\\_large%' OR store_id LIKE 'vs\\_small%' GROUP BY store_id, lexeme",
            timeout=TIMEOUT,
        )
        await db.execute("SET maintenance_work_mem = '1GB'")
        await db.execute(made, timeout=TIMEOUT)
        await db.execute("RESET maintenance_work_mem")
        await db.execute("VACUUM ANALYZE", timeout=TIMEOUT)
    return True


def _parts(size: int) -> Iterator[tuple[str, int, int]]:
    """Yields (store, its first job, chunks): pieces of the large store, then the small stores."""
    for at in range(0, size, BITE):
        yield LARGE, at, min(BITE, size - at)
    for number in range(stores(size)):
        yield small(number), size + number * SMALL, SMALL


async def _fill(
    db: Connection,
    model: int,
    store: str,
    first: int,
    count: int,
    base: NDArray[np.float32],
    names: NDArray[np.str_],
    often: NDArray[np.float64],
    noise: np.random.Generator,
) -> None:
    """Yields files of CHUNKS_PER_FILE chunks. The number of a file is its job."""
    files = sorted({(first + at) // CHUNKS_PER_FILE for at in range(count)})
    attributes = [orjson.dumps({f"in{part}": number % part == 0 for part in PARTS}).decode() for number in files]
    ids = [f"file-{number}" for number in files]
    await db.execute(
        "INSERT INTO vector_store_files"
        " (store_id, file_id, project_id, position, filename, status, job, attributes, body)"
        " SELECT $1, id, 'bench', job, id, 'completed', job, rows.attributes::jsonb, '{}'"
        " FROM unnest($2::text[], $3::bigint[], $4::text[]) AS rows (id, job, attributes) ON CONFLICT DO NOTHING",
        *(store, ids, files, attributes),
    )
    await db.execute(
        "INSERT INTO chunk_files SELECT $1, id, job, $4, $4, true"
        " FROM unnest($2::text[], $3::bigint[]) AS rows (id, job) ON CONFLICT DO NOTHING",
        *(store, ids, files, CHUNKS_PER_FILE),
    )
    chosen = base[noise.integers(0, len(base), count)]
    moved = chosen + noise.normal(size=chosen.shape).astype(np.float32) * STEP / np.sqrt(base.shape[1])
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    texts = [" ".join(noise.choice(names, WORDS, p=often)) for _ in range(count)]
    jobs = [(first + at) // CHUNKS_PER_FILE for at in range(count)]
    numbers = [(first + at) % CHUNKS_PER_FILE for at in range(count)]
    await db.execute(
        "INSERT INTO chunks (store_id, file_id, job, chunk, start, tokens, cuts, text, words)"
        " SELECT $1, 'file-' || job, job, number, 0, 400, '{0}', text,"
        " array_to_tsvector(ARRAY [$1, 'language english']) || to_tsvector('english', text)"
        " FROM unnest($2::bigint[], $3::integer[], $4::text[]) AS rows (job, number, text)",
        *(store, jobs, numbers, texts),
        timeout=TIMEOUT,
    )
    await db.execute(
        "INSERT INTO vectors (store_id, file_id, job, number, first_chunk, last_chunk, model_id, embedding)"
        " SELECT $1, 'file-' || job, job, number, number, number, $2, rows.embedding::vector"
        " FROM unnest($3::bigint[], $4::integer[], $5::text[]) AS rows (job, number, embedding)",
        *(store, model, jobs, numbers, _vector_texts(moved)),
        timeout=TIMEOUT,
    )


def _vector_texts(vectors: NDArray[np.float32]) -> Sequence[str]:
    return [orjson.dumps(vector.round(6).tolist()).decode() for vector in vectors]
