"""The index of the words of messages: what it finds, and that it holds nothing of deleted messages."""

from __future__ import annotations

from typing import Any

import pytest

from events.thread.commands import DeleteMessage, DeleteThread
from projections import erasures, retention, thread_words
from projections.metadata import NO_FILTER
from projections.rows import Cursor
from projections.thread_words import ThreadQuery
from service.database import Pool
from service.search.words import WORD_RULES
from service.thread_search import follower
from service.thread_search.follower import PART_CHARACTERS, ThreadSearchFollower, split_text, text_of
from service.thread_search.text_query import words_query
from sql.connection import Connection
from tests.audit.sealing import seal
from tests.events.thread.story import CREATE, add
from tests.projections.helpers import ORIGIN, OTHER, writer
from tests.usage.test_follower import run_thread


async def talk(pool: Pool, thread_id: str, *texts: str, origin: Any = ORIGIN) -> None:
    await writer(pool).thread(origin, thread_id, CREATE)
    for number, text in enumerate(texts):
        await writer(pool).thread(origin, thread_id, add(text, f"msg_{thread_id}_{number}"))


async def follow(pool: Pool, db: Connection) -> None:
    await seal(db)
    await ThreadSearchFollower(pool).scan()


async def find(db: Connection, text: str, project_id: str = ORIGIN.project_id) -> list[str]:
    words = await words_query(db, project_id, text)
    if words is None:
        return []
    cursor = Cursor(limit=20, order="asc", after=None, before=None)
    found = await thread_words.page(db, project_id, cursor, NO_FILTER, ThreadQuery(words=words))
    return [thread.id for thread in found.items]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("We cancelled the orders.", "cancel order"),
        ("Die Katzen schlafen in den Häusern und es ist Nacht.", "Haus Katze"),
        ("图书馆在哪里", "图书馆"),
        ("ห้องสมุดอยู่ที่ไหน", "ห้องสมุด"),
        ("it's 'quoted' \\ & | ! <-> (x)", "'quoted' & x"),
    ],
)
async def test_words_are_found_in_the_languages_of_messages(pool: Pool, db: Connection, text: str, query: str) -> None:
    await talk(pool, "thread_1", text)
    await talk(pool, "thread_2", "Something else")
    await follow(pool, db)
    assert await find(db, query) == ["thread_1"]
    assert await find(db, query + " unicorn") == []
    assert await find(db, query, "proj_2") == []
    assert await find(db, " !? ") == []


async def test_a_message_must_have_all_words(pool: Pool, db: Connection) -> None:
    await talk(pool, "thread_1", "an apple", "a pear")
    await talk(pool, "thread_2", "apple pear", origin=OTHER)
    await follow(pool, db)
    assert await find(db, "apple") == await find(db, "pears") == ["thread_1"]
    assert await find(db, "apple pear") == []
    assert await find(db, "apple pear", OTHER.project_id) == ["thread_2"]


async def test_the_answers_of_runs_are_found(pool: Pool, db: Connection) -> None:
    await run_thread(pool, "thread_1")
    await follow(pool, db)
    rows = await db.fetch("SELECT content FROM events WHERE type = 'message.written'")
    words = await db.fetchval("SELECT count(DISTINCT message_id) FROM thread_words")
    assert words >= len(rows) > 0


async def test_deleted_messages_and_threads_are_gone(pool: Pool, db: Connection, monkeypatch: Any) -> None:
    """Whether the deletion is in the same page of the log as the message or in a later one."""
    for page in (100, 1):
        monkeypatch.setattr(follower, "PAGE_RANGES", page)
        await talk(pool, f"thread_{page}", "secret stays")
        write = writer(pool)
        await write.thread(ORIGIN, f"thread_{page}", add("a secret word", f"msg_{page}"))
        await write.thread(ORIGIN, f"thread_{page}", DeleteMessage(f"msg_{page}", "user"))
        await talk(pool, f"thread_gone_{page}", "a secret word")
        await write.thread(ORIGIN, f"thread_gone_{page}", DeleteThread())
        await follow(pool, db)
    assert sorted(await find(db, "secret")) == ["thread_1", "thread_100"]
    assert await find(db, "word") == []
    assert await db.fetchval("SELECT count(*) FROM thread_words") == 2


async def test_a_crash_of_postgres_loses_nothing(pool: Pool, db: Connection) -> None:
    """PostgreSQL empties both unlogged tables then, and no other."""
    await talk(pool, "thread_1", "an apple")
    await talk(pool, "thread_2", "an apple")
    await follow(pool, db)
    await writer(pool).thread(ORIGIN, "thread_2", DeleteThread())
    await db.execute("DELETE FROM thread_words; DELETE FROM thread_word_progress")
    assert await find(db, "apple") == []
    await follow(pool, db)
    assert await find(db, "apple") == ["thread_1"]
    kinds = await db.fetch(
        "SELECT relpersistence FROM pg_class WHERE relname IN ('thread_words', 'thread_word_progress')"
    )
    assert [row[0] for row in kinds] == [b"u", b"u"]


async def test_newer_rules_and_epochs_make_all_words_again(pool: Pool, db: Connection, monkeypatch: Any) -> None:
    await talk(pool, "thread_1", "an apple")
    await follow(pool, db)
    await db.execute("UPDATE thread_words SET words = 'pear'")
    await follow(pool, db)
    assert await find(db, "apple") == []
    monkeypatch.setattr(follower, "WORD_RULES", WORD_RULES + 1)
    await follow(pool, db)
    assert await find(db, "apple") == ["thread_1"]
    monkeypatch.undo()
    await db.execute("UPDATE thread_words SET words = 'pear'")
    await follow(pool, db)
    assert await find(db, "apple") == [], "older software leaves newer words alone"
    await db.execute("UPDATE thread_word_progress SET epoch = epoch - 1")
    await follow(pool, db)
    assert await find(db, "apple") == ["thread_1"]


async def test_an_erasure_waits_for_the_index(pool: Pool, db: Connection) -> None:
    """Words that the follower adds late would outlive the key of their thread."""
    await talk(pool, "thread_1", "an apple")
    await follow(pool, db)
    await db.execute("UPDATE thread_word_progress SET next_index = 0")
    await db.execute("UPDATE usage_progress SET next_index = 100; UPDATE run_outcome_progress SET next_index = 100")
    await writer(pool).thread(ORIGIN, "thread_1", DeleteThread())
    await seal(db)
    async with db.transaction():
        await erasures.follow(db, 100)
    await retention.release(db, ["thread_1"])
    assert await erasures.claim_uncleared(db, 10, 60.0) == []
    await ThreadSearchFollower(pool).scan()
    assert [each.stream_id for each in await erasures.claim_uncleared(db, 10, 60.0)] == ["thread_1"]


async def test_a_long_message_is_found_by_each_part(pool: Pool, db: Connection) -> None:
    many = "".join(chr(0x4E00 + number % 20_000) for number in range(120_000))
    await talk(pool, "thread_1", many)
    await talk(pool, "thread_2", "first " + "word " * 30_000 + "last")
    await follow(pool, db)
    assert await find(db, many[110_000:110_004]) == ["thread_1"]
    assert await find(db, "first") == await find(db, "last") == ["thread_2"]


def test_parts_are_the_whole_text_and_divide_no_word() -> None:
    text = "abcdefg " * 20_000
    parts = list(split_text(text))
    assert "".join(parts) == text
    assert all(len(part) <= PART_CHARACTERS and part.endswith(" ") for part in parts)
    assert len(list(split_text("x" * (2 * PART_CHARACTERS + 1)))) == 3
    assert list(split_text("")) == list(split_text("  \n")) == []


def test_only_texts_have_words() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": {"value": "one", "annotations": []}},
        {"type": "image_url", "image_url": {"url": "https://example.com"}},
        {"type": "text", "text": {"value": "two", "annotations": []}},
    ]
    assert text_of(parts) == "one\ntwo"
