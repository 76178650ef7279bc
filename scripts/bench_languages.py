"""`scripts/bench languages`: measures search by language with both embedded models, and the cost of each model.

Each language of language_questions.toml has ten notices and ten questions. Every notice is a file, and the files of a
language are a store. A question counts if its own file is first. The columns are:

- words: the order by words alone;
- meaning: the order by vectors alone;
- served: the order of the API, by meaning and words;
- English: the order by vectors alone, if the same question is asked of the English notices.

The cost is the CPU time of the model's process, with one core for each text, and its proportional memory (PSS). The
machine may be busy: compare the figures of the two models in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.bench_search import index_file
from service.database import Pool, open_pool
from service.embedded.postgres import EmbeddedPostgres
from service.migrations import prepare_database
from service.sandbox.probe import SandboxProbe
from service.search.base import StoreRef
from service.search.embed.base import Vector
from service.search.embed.local import LocalEmbedder
from service.search.embed.wheels import MINILM, WHEELS, ModelWheel
from service.search.factory import PostgresSearchEngine, open_search_engine
from service.search.hybrid import PostgresSearcher, StoreQuery
from service.system import SystemClock
from sql.connection import Connection

QUESTIONS = Path(__file__).with_name("language_questions.toml")
# Rounds of the measurement of costs, in which the models take turns.
ROUNDS = 5
# A window of English, as the indexer cuts documents: about 200 tokens.
WINDOW = "The harbour master keeps the tide tables in the second drawer, and the pumps stop when the water falls. " * 9
LONG_TEXTS = ["word " * 1500, "tide " * 1500]


@dataclass(frozen=True, slots=True)
class Language:
    """A language with its pairs of a notice and a question."""

    name: str
    code: str
    pairs: list[tuple[str, str]]

    def store(self, wheel: ModelWheel) -> str:
        return f"vs_{self.code}_{wheel.package}"


@dataclass(slots=True)
class Counts:
    """The questions whose own file was first."""

    words: int = 0
    meaning: int = 0
    served: int = 0
    english: int = 0


async def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench languages", description=__doc__)
    parser.add_argument("--cost", action="store_true", help="only the cost")
    is_cost_only = parser.parse_args().cost
    languages = [Language(**each) for each in tomllib.loads(QUESTIONS.read_text())["language"]]
    with tempfile.TemporaryDirectory(prefix="everthread-bench-") as temporary:
        home = Path(temporary)
        await asyncio.to_thread(home.chmod, 0o711)
        if not is_cost_only:
            await _measure_quality(languages, home)
        await _cost(languages, home)


async def _measure_quality(languages: Sequence[Language], home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    url = await postgres.start()
    await prepare_database(url)
    pool = await open_pool(url)
    search_engine = open_search_engine(pool, SandboxProbe(), home / "embedder.log", now=SystemClock().now)
    try:
        await _index(pool, search_engine, languages, home)
        await _quality(pool, search_engine, languages)
    finally:
        await search_engine.close()
        pool.terminate()
        await postgres.stop()


async def _index(pool: Pool, search_engine: PostgresSearchEngine, languages: Sequence[Language], home: Path) -> None:
    numbers = itertools.count(1)
    for language, wheel in itertools.product(languages, WHEELS.values()):
        for place, (notice, _) in enumerate(language.pairs):
            file = home / f"{language.code}-{place}.txt"
            file.write_text(notice, encoding="utf-8")
            await index_file(pool, search_engine, file, language.store(wheel), next(numbers), wheel.name)
    await pool.execute("ANALYZE")


async def _quality(pool: Pool, search_engine: PostgresSearchEngine, languages: Sequence[Language]) -> None:
    columns = [f"{wheel.name}: {column}" for wheel in WHEELS.values() for column in ("meaning", "served", "English")]
    print("\nQuestions of ten whose file is first:\n")
    print(f"| language | words | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    totals = [0] * (len(columns) + 1)
    for language in languages:
        counts = [
            await _count(pool, search_engine, language, wheel, languages[0].store(wheel)) for wheel in WHEELS.values()
        ]
        row = [counts[0].words, *(n for each in counts for n in (each.meaning, each.served, each.english))]
        totals = [a + b for a, b in zip(totals, row, strict=True)]
        print(f"| {language.name} | {' | '.join(map(str, row))} |", flush=True)
    print(f"| all {10 * len(languages)} | {' | '.join(map(str, totals))} |", flush=True)


async def _count(
    pool: Pool, search_engine: PostgresSearchEngine, language: Language, wheel: ModelWheel, english: str
) -> Counts:
    counts, searcher, store = Counts(), search_engine.searcher, language.store(wheel)
    embedder = search_engine.embedders.get(wheel.name)
    for place, (_, question) in enumerate(language.pairs):
        served = await searcher.search([StoreRef(store, wheel.name)], [question], limit=1)
        counts.served += _is_first([hit.file_id for hit in served.hits], place)
        (vector,) = await embedder.embed([question], query=True)
        async with pool.acquire() as db:
            by_words = await searcher.find_by_words(db, [store], question)
            counts.words += _is_first([file_id for _, file_id, _, _ in by_words], place)
            counts.meaning += _is_first(await _by_meaning(db, searcher, wheel, store, question, vector), place)
            counts.english += _is_first(await _by_meaning(db, searcher, wheel, english, question, vector), place)
    return counts


async def _by_meaning(
    db: Connection, searcher: PostgresSearcher, wheel: ModelWheel, store: str, question: str, vector: Vector
) -> list[str]:
    """Returns the ids of the files, nearest first."""
    found = await searcher.find_candidates(db, wheel.name, StoreQuery([store], question, None), vector)
    found.sort(key=lambda each: -(each.similarity or 0.0))
    return [each.file_id for each in found]


def _is_first(files: Sequence[str], place: int) -> bool:
    return bool(files) and files[0].endswith(f"-{place}")


async def _cost(languages: Sequence[Language], home: Path) -> None:
    notices = [notice for language in languages for notice, _ in language.pairs]
    embedders = {wheel.name: LocalEmbedder(wheel, home / "embedder.log") for wheel in WHEELS.values()}
    processes: dict[str, psutil.Process] = {}
    spent: dict[str, list[float]] = {name: [0.0, 0.0] for name in embedders}
    try:
        for name, embedder in embedders.items():
            before = set(psutil.Process().children())
            await embedder.embed([WINDOW])
            (processes[name],) = set(psutil.Process().children()) - before
        memory = {name: [_pss(process)] for name, process in processes.items()}
        for _, (name, embedder) in itertools.product(range(ROUNDS), embedders.items()):
            for at, texts in enumerate((notices, [WINDOW] * 20)):
                began = _cpu_s(processes[name])
                for first in range(0, len(texts), embedder.batch):
                    await embedder.embed(texts[first : first + embedder.batch])
                spent[name][at] += (_cpu_s(processes[name]) - began) / len(texts) / ROUNDS
        for name, embedder in embedders.items():
            await embedder.embed(LONG_TEXTS)
            memory[name].append(_pss(processes[name]))
    finally:
        for embedder in embedders.values():
            await embedder.close()
    print(f"\nCPU time a text, and memory, on {os.cpu_count()} cores:\n")
    print("| model | notice | × MiniLM | window of 200 tokens | × MiniLM | PSS after the start | after long texts |")
    print("|---" * 7 + "|")
    for name, (notice, window) in spent.items():
        factors = [here / there for here, there in zip((notice, window), spent[MINILM.name], strict=True)]
        print(
            f"| {name} | {notice * 1000:.1f} ms | {factors[0]:.1f} | {window * 1000:.1f} ms | {factors[1]:.1f}"
            f" | {memory[name][0]:.0f} MB | {memory[name][1]:.0f} MB |"
        )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _pss(process: psutil.Process) -> float:
    """Returns the proportional memory of a process in MB."""
    return float(process.memory_full_info().pss) / 1e6


if __name__ == "__main__":
    asyncio.run(main())
