"""`scripts/bench search`: measures the quality and the speed of search.

Quality: the questions of search_questions.toml are searched in the manual of PostgreSQL 15, which the embedded model
indexes for real (about 3,700 chunks, a quarter of an hour on two cores). The variants are keywords alone, vectors
alone, both fused, and the final ranking that the API returns.

Speed: the stores are synthetic. Each vector is one of the manual's, moved a little and scaled to length 1, so the
distribution is realistic; the words of a chunk are drawn from the manual's words with their frequencies. The measured
time is that of a whole search with a given vector: keywords, candidates, exact distances, fusion.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import statistics
import sys
import tempfile
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
from rich.progress import Progress

import sql
from scripts import bench_synthetic as synthetic
from service.database import Pool, open_pool
from service.embedded.postgres import EmbeddedPostgres
from service.migrations import prepare_database
from service.sandbox.probe import SandboxProbe
from service.search import hybrid
from service.search.base import IndexingJob
from service.search.embed.base import Vector
from service.search.embed.wheels import MINILM
from service.search.factory import PostgresSearchEngine, open_search_engine
from service.search.filters import jsonpath
from service.search.fusion import Candidate, fuse, rank
from service.search.hybrid import StoreQuery
from service.system import SystemClock

DOCS = Path("/usr/share/doc/postgresql-doc-15/html")
QUESTIONS = Path(__file__).with_name("search_questions.toml")
# Pages that are left out: release notes, the index, and lists of names.
SKIPPED = ("release", "bookindex", "catalog", "infoschema", "ecpg")
STORE = "vs_manual"
JOBS = 4
SIZES = (1_000, 10_000, 100_000)
RUNS = 200
# Searches before the measured ones, with vectors from the whole store, so that its pages are in memory as they are on a
# server that has been searched for some time.
WARM_UP = 400
RECALLS = 50
TOP = 10

Order = Callable[[Sequence[Candidate]], list[Candidate]]
ORDERS: dict[str, Order] = {
    "keyword only": lambda found: sorted(
        (one for one in found if one.word_share), key=lambda one: (-one.word_share, one.key)
    ),
    "vectors only": lambda found: sorted(found, key=lambda one: (-(one.similarity or 0), one.key)),
    "fused (RRF)": lambda found: [one.candidate for one in fuse(found)],
    "fused, ranked": lambda found: [one.candidate for one in rank(fuse(found))],
}


async def main() -> None:
    asked = argparse.ArgumentParser(prog="scripts/bench search", description=__doc__)
    asked.add_argument("--docs", type=Path, default=DOCS, help="the manual's pages")
    asked.add_argument(
        "--keep",
        type=Path,
        help="a folder for the database, to use what it holds, synthetic stores too, and to keep it",
    )
    asked.add_argument(
        "--sizes", default=",".join(map(str, SIZES)), help="chunks of the synthetic stores; empty for none"
    )
    given = asked.parse_args()
    if not given.docs.is_dir():
        sys.exit(f"{given.docs} is missing: on Debian, apt-get install postgresql-doc-15, or name its folder by --docs")
    with tempfile.TemporaryDirectory(prefix="everthread-bench-") as temporary:
        home = given.keep or Path(temporary)
        home.mkdir(exist_ok=True)
        home.chmod(0o711)
        postgres = EmbeddedPostgres(home)
        url = await postgres.start()
        await prepare_database(url)
        pool = await open_pool(url)
        search_engine = open_search_engine(pool, SandboxProbe(), home / "embedder.log", now=SystemClock().now)
        try:
            pages = sorted(page for page in given.docs.glob("*.html") if not page.name.startswith(SKIPPED))
            await _index(pool, search_engine, pages)
            await _quality(pool, search_engine)
            for size in (int(part) for part in given.sizes.split(",") if part):
                await _speed(pool, search_engine, size)
        finally:
            await search_engine.close()
            pool.terminate()
            await postgres.stop()


async def _index(pool: Pool, search_engine: PostgresSearchEngine, pages: Sequence[Path]) -> None:
    done = {
        row["file_id"] for row in await pool.fetch("SELECT file_id FROM vector_store_files WHERE status = 'completed'")
    }
    began, before = time.monotonic(), await pool.fetchval("SELECT count(*) FROM chunks")
    numbers = itertools.count(await pool.fetchval("SELECT coalesce(max(job), 0) + 1 FROM vector_store_files"))
    waiting = iter([page for page in pages if page.stem not in done])
    with Progress() as progress:
        bar = progress.add_task("indexing", total=len(pages), completed=len(done))

        async def work() -> None:
            for page in waiting:
                await index_file(pool, search_engine, page, STORE, next(numbers), MINILM.name)
                progress.advance(bar)

        async with asyncio.TaskGroup() as group:
            for _ in range(JOBS):
                group.create_task(work())
    made = await pool.fetchval("SELECT count(*) FROM chunks") - before
    if made:
        seconds = time.monotonic() - began
        windows = await pool.fetchval("SELECT count(*) FROM vectors")
        print(f"indexed {len(pages)} files, {made} chunks ({windows} windows): {made / seconds:.1f} chunks/s")
    await pool.execute("ANALYZE", timeout=synthetic.TIMEOUT)


async def index_file(
    pool: Pool, search_engine: PostgresSearchEngine, file: Path, store: str, number: int, model: str
) -> None:
    """Indexes a file into a store as job `number`, with vectors of `model`."""
    data = await asyncio.to_thread(file.read_bytes)

    async def read() -> AsyncIterator[bytes]:
        yield data

    await pool.execute(
        "INSERT INTO vector_store_files (store_id, file_id, project_id, position, filename, status, job, body)"
        " VALUES ($1, $2, 'bench', $3, $4, 'in_progress', $3, '{}')"
        " ON CONFLICT (store_id, file_id) DO UPDATE SET job = excluded.job, position = excluded.position",
        *(store, file.stem, number, file.name),
    )
    job = IndexingJob(store, file.stem, "bench", number, file.name, "text/html", len(data), read, 800, 400, model, {})
    await search_engine.indexer.index(job)
    await pool.execute("UPDATE vector_store_files SET status = 'completed' WHERE job = $1", number)


async def _quality(pool: Pool, search_engine: PostgresSearchEngine) -> None:
    questions = tomllib.loads(QUESTIONS.read_text())["question"]
    embedder = search_engine.embedders.get(MINILM.name)
    ranks: dict[str, list[int]] = {name: [] for name in ORDERS}
    async with pool.acquire() as db:
        for question in questions:
            (vector,) = await embedder.embed([question["asked"]], query=True)
            rows = await search_engine.searcher.find_candidates(
                db, MINILM.name, StoreQuery([STORE], question["asked"], None), vector
            )
            texts = await db.fetch(
                "SELECT store_id, file_id, job, chunk, text FROM chunks WHERE store_id = $1 AND file_id = $2",
                *(STORE, question["page"]),
            )
            says = re.compile(question["says"], re.IGNORECASE)
            right = {tuple(row)[:4] for row in texts if says.search(row["text"])}
            for name, order in ORDERS.items():
                places = [one.key for one in order(rows)]
                ranks[name].append(next((at for at, place in enumerate(places, 1) if place in right), 0))
    chunks = await pool.fetchval("SELECT count(*) FROM chunks WHERE store_id = $1", STORE)
    print(f"\n{len(questions)} questions over {chunks} chunks; in brackets the half that nothing was chosen by")
    print(f"{'':16}{'recall@5':>18}{'MRR':>18}")
    for name, found in ranks.items():
        held = found[1::2]
        print(
            f"{name:16}{_recall(found):>10.3f} ({_recall(held):.3f}){_mrr(found):>10.3f} ({_mrr(held):.3f})", flush=True
        )


def _recall(ranks: Sequence[int]) -> float:
    return sum(1 for rank in ranks if 0 < rank <= 5) / len(ranks)


def _mrr(ranks: Sequence[int]) -> float:
    return sum(1 / rank for rank in ranks if rank) / len(ranks)


async def _speed(pool: Pool, search_engine: PostgresSearchEngine, size: int) -> None:
    """Makes a store of `size` chunks, and as many chunks again in small stores."""
    began = time.monotonic()
    made = await synthetic.make(pool, size, source=STORE)
    how = f"made in {_since(began)} s" if made else "made before"
    print(f"\n{size} chunks in one store, and {size} in {synthetic.stores(size)} others ({how})")
    texts = [question["asked"] for question in tomllib.loads(QUESTIONS.read_text())["question"]]
    queries = list(zip(texts, await search_engine.embedders.get(MINILM.name).embed(texts, query=True), strict=True))
    for part in (1, *synthetic.PARTS):
        where = None if part == 1 else jsonpath({"type": "eq", "key": f"in{part}", "value": True})
        name = "the large store" + ("" if part == 1 else f", 1 file in {part}")
        await _timed(pool, search_engine, name, StoreQuery([synthetic.LARGE], "", where), queries)
    await _timed(pool, search_engine, "a small store", StoreQuery([synthetic.small(7)], "", None), queries)
    await _timed(pool, search_engine, "both", StoreQuery([synthetic.LARGE, synthetic.small(7)], "", None), queries)
    await _explained(pool, search_engine, queries[0][1])


def _since(began: float) -> int:
    return round(time.monotonic() - began)


async def _timed(
    pool: Pool, search_engine: PostgresSearchEngine, name: str, asked: StoreQuery, queries: Sequence[tuple[str, Vector]]
) -> None:
    times, recalls = [], []
    async with pool.acquire() as db:
        model = await search_engine.searcher.tables.find(db, MINILM.name)
        others = await synthetic.some(db, asked.stores, WARM_UP)
        for at in range(-len(others), RUNS):
            text, vector = queries[at % len(queries)]
            began = time.perf_counter()
            vector = others[at] if at < 0 else vector
            rows = await search_engine.searcher.find_candidates(db, MINILM.name, replace(asked, query=text), vector)
            rank(fuse(rows))
            if at >= 0:
                times.append((time.perf_counter() - began) * 1000)
        assert model is not None
        chunks = await db.fetchval("SELECT sum(chunks) FROM chunk_files WHERE store_id = ANY ($1)", asked.stores)
        index = await hybrid.should_use_index(db, model, asked, chunks)
        for _, vector in queries[:RECALLS] if index else ():
            vector_json = orjson.dumps(list(vector)).decode()
            exact = await hybrid.nearest_windows(db, model, vector_json, asked, by_index=False, limit=TOP)
            got = await hybrid.nearest_windows(db, model, vector_json, asked, by_index=True)
            recalls.append(len(set(got[:TOP]) & set(exact)) / len(exact))
    times.sort()
    how = f"by the index, recall@{TOP} {statistics.mean(recalls):.3f}" if index else "exact"
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99) - 1]
    print(f"  {name:30} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   {how}", flush=True)


async def _explained(pool: Pool, search_engine: PostgresSearchEngine, vector: Vector) -> None:
    """Returns the indexes that the queries use."""
    vector_json = orjson.dumps(list(vector)).decode()
    blocks = sql.queries("search")
    async with pool.acquire() as db:
        model = await search_engine.searcher.tables.find(db, MINILM.name)
        assert model is not None
        for block, store, name in (
            ("nearest", synthetic.LARGE, "the large store"),
            ("exact", synthetic.small(7), "a small store"),
        ):
            async with db.transaction(readonly=True):
                if block == "nearest":
                    await db.execute(blocks["settings"], str(hybrid.EF_SEARCH), str(hybrid.MAX_SCANNED))
                plan_rows = await db.fetch(
                    "EXPLAIN " + model.adapt(blocks[block]), vector_json, [store], None, hybrid.NEAREST
                )
            print(f"  {name}: " + "; ".join(_scans(row[0] for row in plan_rows)))
        query = f"'{synthetic.small(7)}' & 'index'"
        plan = await db.fetch("EXPLAIN " + blocks["with_words"], [query], [1.0], 1000, None, 40)
        print("  words: " + "; ".join(_scans(row[0] for row in plan)))


def _scans(plan: Iterable[str]) -> list[str]:
    return [
        line.split("->")[-1].split("(cost")[0].strip() for line in plan if "Scan" in line and "Function" not in line
    ]


if __name__ == "__main__":
    asyncio.run(main())
