"""Filters as jsonpath, evaluated by a real Postgres, agree with a plain evaluation in Python."""

from __future__ import annotations

import asyncio
import json
import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.database import connect
from service.search.filters import jsonpath
from sql.connection import Connection

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
VALUES = st.one_of(
    st.sampled_from(["", "a", 'say "hi"', "back\\slash", "naïve\n", "$.b", "1"]),
    TEXT,
    st.integers(-3, 3),
    st.floats(-1e9, 1e9),
    st.booleans(),
)
KEYS = st.sampled_from(["a", "b", 'q"uote', "with space", "$x", "é"])
COMPARISONS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), "key": KEYS, "value": VALUES}
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["in", "nin"]), "key": KEYS, "value": st.lists(VALUES, max_size=3)}),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["and", "or"]), "filters": st.lists(inner, min_size=1, max_size=3)}
    ),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=4)
MATCH = "SELECT $1::jsonb @@ $2::jsonpath"
ORDER = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def _json_type(value: Any) -> type:
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


def _is_equal(attributes: dict[str, Any], key: str, value: Any) -> bool:
    return key in attributes and _json_type(attributes[key]) is _json_type(value) and bool(attributes[key] == value)


def matches(filter: dict[str, Any], attributes: dict[str, Any]) -> bool:
    operation, key, value = filter["type"], filter.get("key", ""), filter.get("value", 0)
    match operation:
        case "and":
            return all(matches(part, attributes) for part in filter["filters"])
        case "or":
            return any(matches(part, attributes) for part in filter["filters"])
        case "eq":
            return _is_equal(attributes, key, value)
        case "ne":
            return not _is_equal(attributes, key, value)
        case "in":
            return any(_is_equal(attributes, key, each) for each in filter["value"])
        case "nin":
            return not any(_is_equal(attributes, key, each) for each in filter["value"])
        case _:
            if key not in attributes or _json_type(attributes[key]) is not _json_type(value):
                return False
            return bool(ORDER[operation](attributes[key], value))


@pytest.mark.slow
def test_python_and_postgres_agree(postgres: str) -> None:
    with asyncio.Runner() as runner:
        db = runner.run(connect(postgres))

        @settings(max_examples=200)
        @given(FILTERS, ATTRIBUTES)
        def agree(filter: dict[str, Any], attributes: dict[str, Any]) -> None:
            by_postgres = db.fetchval(MATCH, json.dumps(attributes), jsonpath(filter))
            assert runner.run(by_postgres) == matches(filter, attributes)

        agree()
        runner.run(db.close())


async def test_a_filter_is_a_parameter_of_a_query(db: Connection) -> None:
    predicate = jsonpath({"type": "eq", "key": "author", "value": 'O\'Hara "x"'})
    assert await db.fetchval(MATCH, json.dumps({"author": 'O\'Hara "x"'}), predicate) is True
