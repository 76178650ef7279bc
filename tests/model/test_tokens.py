"""Token counts equal those of tiktoken, and the vocabulary is the file that tiktoken would download."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiktoken import load as tiktoken_load
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

from service.child_process import spawn
from service.model import tokens
from service.model.tokens import TokenProcessError, Tokens, token_bound
from service.model.vocabularies import PATTERNS, EncodingName, load_encoding, vocabulary

TOKENS = Tokens()
tiktokens = cache(load_encoding)


@pytest.fixture
def newest() -> Callable[[], psutil.Process]:
    """Returns a function that returns the newest counting process, which a test has started."""
    TOKENS.count("cl100k_base", "x")
    known = set(psutil.Process().children())

    def find() -> psutil.Process:
        (process,) = set(psutil.Process().children()) - known
        known.add(process)
        assert "service.model.token_process" in process.cmdline()
        return process

    return find


def _kill_starts(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Kills the first `count` counting processes as they start. Returns the list of all that are started."""
    starts = list[int]()

    def spawn_and_kill(*args: Any, **settings: Any) -> subprocess.Popen[bytes]:
        child = spawn(*args, **settings)
        starts.append(child.pid)
        if len(starts) <= count:
            child.kill()
        return child

    monkeypatch.setattr(tokens, "spawn", spawn_and_kill)
    return starts


@pytest.mark.slow
@pytest.mark.parametrize("encoding", PATTERNS)
def test_data_and_pattern_are_tiktokens_own(
    encoding: EncodingName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://openaipublic.blob.core.windows.net/encodings/{encoding}.tiktoken"
    lines = b"".join(b"%s %d\n" % (token, rank) for rank, token in enumerate(vocabulary(encoding)))
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(lines)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken_load, "read_file", lambda path: pytest.fail(f"a wrong sha256 would download {path}"))
    theirs: dict[str, Any] = openai_public.ENCODING_CONSTRUCTORS[encoding]()
    assert len(theirs["mergeable_ranks"]) == len(vocabulary(encoding))
    assert theirs["pat_str"] == PATTERNS[encoding]


@pytest.mark.slow
def test_known_counts() -> None:
    assert TOKENS.count("cl100k_base", "tiktoken is great!") == 6
    assert TOKENS.count("o200k_base", "Hello, world!") == 4
    assert TOKENS.count("o200k_base", "") == 0
    assert TOKENS.count("cl100k_base", "<|endoftext|>") > 1  # text from a client is never a special token


@pytest.mark.slow
def test_loading_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("counting needs no network"))
    assert len(load_encoding("cl100k_base").encode_ordinary("tiktoken is great!")) == 6


@pytest.mark.slow
def test_the_counting_process_ends_when_idle_and_a_later_text_starts_another(
    newest: Callable[[], psutil.Process],
) -> None:
    fresh = Tokens(idle_s=0.2)
    assert fresh.count("cl100k_base", "tiktoken is great!") == 6
    psutil.wait_procs([newest()], timeout=60)
    assert fresh.count("cl100k_base", "tiktoken is great!") == 6


@pytest.mark.slow
def test_a_killed_counting_process_is_replaced_and_ends_with_its_owner(newest: Callable[[], psutil.Process]) -> None:
    fresh = Tokens()
    assert fresh.count("cl100k_base", "tiktoken is great!") == 6
    newest().kill()
    assert fresh.count("cl100k_base", "tiktoken is great!") == 6
    second = newest()
    del fresh
    assert not second.is_running()


def test_a_count_goes_on_after_its_process_was_killed_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill at each start but the last one that is allowed: the run that needs the count does not notice."""
    starts = _kill_starts(monkeypatch, tokens.MAX_TRIES - 1)
    assert Tokens().count("cl100k_base", "tiktoken is great!") == 6
    assert len(starts) == tokens.MAX_TRIES


def test_a_process_that_is_always_killed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = _kill_starts(monkeypatch, tokens.MAX_TRIES + 1)
    with pytest.raises(TokenProcessError):
        Tokens().count("cl100k_base", "tiktoken is great!")
    assert len(starts) == tokens.MAX_TRIES


def test_a_process_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TokenProcessError):
        Tokens().count("cl100k_base", "x")


async def test_texts_of_several_threads_are_counted_alone() -> None:
    texts = [f"{number} " * number for number in range(1, 40)]
    expected = [TOKENS.count("cl100k_base", text) for text in texts]
    assert await asyncio.gather(*(asyncio.to_thread(TOKENS.count, "cl100k_base", text) for text in texts)) == expected


@given(st.text(st.characters(exclude_categories=[])), st.sampled_from(list(PATTERNS)))
def test_law_tokens_are_those_of_tiktoken(text: str, encoding: EncodingName) -> None:
    theirs = tiktokens(encoding)
    expected = theirs.decode_tokens_bytes(theirs.encode_ordinary(text))
    assert TOKENS.token_bytes(encoding, text) == expected
    assert TOKENS.count(encoding, text) == len(expected)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", PATTERNS)
def test_counting_in_slices_changes_the_count_by_little(
    encoding: EncodingName, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Some prose, 漢字 and numbers 12345. " * 3000
    sliced = TOKENS.count(encoding, text)
    monkeypatch.setattr(tokens, "SLICE", len(text))
    assert abs(sliced - TOKENS.count(encoding, text)) <= 2 * (len(text) // 50_000 + 1)


@given(st.text(st.characters(exclude_categories=[])), st.sampled_from(list(PATTERNS)))
def test_law_tokens_never_exceed_bytes(text: str, encoding: EncodingName) -> None:
    assert TOKENS.count(encoding, text) <= token_bound(text)
