"""Token counts equal those of tiktoken, and the vocabulary is the file that tiktoken would download."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken import load as tiktoken_load
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

from service.model import tokens
from service.model.tokens import PATTERNS, EncodingName, Tokens, token_bound, vocabulary

TOKENS = Tokens()


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
def test_known_counts_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("counting needs no network"))
    fresh = Tokens()
    assert fresh.count("cl100k_base", "tiktoken is great!") == 6
    assert fresh.count("o200k_base", "Hello, world!") == 4
    assert fresh.count("o200k_base", "") == 0
    assert fresh.count("cl100k_base", "<|endoftext|>") > 1  # text from a client is never a special token


async def test_prepare_loads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    real = tokens._load

    def load(name: EncodingName) -> tiktoken.Encoding:
        loads.append(name)
        return real(name)

    monkeypatch.setattr(tokens, "_load", load)
    fresh = Tokens()
    await fresh.prepare("cl100k_base")
    await fresh.prepare("cl100k_base")
    fresh.count("cl100k_base", "x")
    assert loads == ["cl100k_base"]


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
