"""Turns the text that a person looks for into a query of PostgreSQL's full text search."""

from __future__ import annotations

from projections import thread_words
from service.search.languages import LANGUAGES
from service.search.words import divide_query
from sql.connection import Connection


async def words_query(db: Connection, project_id: str, text: str) -> str | None:
    """Returns the tsquery of messages of the project that have all words of the text; None if the text has no word.

    A text is stemmed in each language, since a message is stemmed in its own. Stop words of a language are left out.
    """
    spaced, pairs = divide_query(text)
    wanted = [_quote(pair) for pair in pairs]
    if spaced.strip() and (stems := await thread_words.stems(db, spaced, LANGUAGES)):
        wanted.append(" | ".join(f"({each})" for each in stems))
    if not wanted:
        return None
    return " & ".join(f"({part})" for part in (_quote(f"project {project_id}"), *wanted))


def _quote(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
