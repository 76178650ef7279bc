"""Names and prose of this repository, held to the bounds that CONTRIBUTING.md states (scripts/code_figures.py)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from scripts.code_figures import Checkout, per_thousand

MAX_SHARED_TYPES = 8
MIN_IF, MAX_WHERE, MAX_WHAT = 4.0, 4.0, 5.0  # per 1,000 words of docstrings
MAX_README_WORDS = 700


@pytest.fixture(scope="module")
def checkout() -> Checkout:
    return Checkout(Path(__file__).resolve().parents[1])


def lines(found: Iterable[object]) -> str:
    return "\n".join(map(str, found))


@pytest.mark.slow
def test_no_name_is_a_bare_participle(checkout: Checkout) -> None:
    assert not checkout.participles(), lines(checkout.participles())


def test_few_public_types_share_a_name(checkout: Checkout) -> None:
    """Only a concept of the API may have the same name in two modules: its stored object and its request."""
    shared = checkout.duplicate_types()
    assert len(shared) <= MAX_SHARED_TYPES, lines(shared.items())


@pytest.mark.slow
def test_no_text_begins_with_a_banned_opener(checkout: Checkout) -> None:
    assert not checkout.banned_openers(), lines(checkout.banned_openers())


@pytest.mark.slow
def test_no_text_holds_a_banned_word(checkout: Checkout) -> None:
    assert not checkout.banned_words(), lines(checkout.banned_words())


@pytest.mark.slow
def test_docstrings_state_conditions_with_if(checkout: Checkout) -> None:
    words = checkout.docstring_words()
    assert per_thousand(words, "if") >= MIN_IF
    assert per_thousand(words, "where") <= MAX_WHERE
    assert per_thousand(words, "what") <= MAX_WHAT


def test_the_readme_is_short(checkout: Checkout) -> None:
    assert checkout.readme_words() <= MAX_README_WORDS
