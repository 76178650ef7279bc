"""The catalogue assigns names to upstreams, and an invalid models file is reported in one line."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from service.model import catalog
from service.model.base import ModelInfo
from service.model.catalog import Catalog, CatalogError, Endpoint, facts_of, load_catalog

DEFAULT = Endpoint("https://api.openai.com/v1", "default-key")
EMBEDDED = ModelInfo("smollm2", 8192, "o200k_base", 1.3, vision=False, tools=False)


def load_text(tmp_path: Path, text: str, served: ModelInfo | None = None, default: Endpoint = DEFAULT) -> Catalog:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return load_catalog(path, default, served, {"GPU_KEY": "gpu-key", "EMPTY": ""})


def test_the_first_table_that_matches_is_used(tmp_path: Path) -> None:
    found = load_text(
        tmp_path,
        """
        [[models]]
        match = "gpt-4o-mini"
        name = "small"
        context_window = 4096
        encoding = "cl100k_base"
        margin = 1.5
        vision = false
        tools = false
        max_tokens_field = "max_tokens"

        [[models]]
        match = ["gpt-4*", "chatgpt-*"]
        base_url = "http://gpu:8000/v1/"
        api_key_env = "GPU_KEY"
        name = "org/gpt-oss-20b"
        """,
    )
    small = found.route("gpt-4o-mini")
    assert small.endpoint == DEFAULT
    assert small.info == ModelInfo("small", 4096, "cl100k_base", 1.5, vision=False, tools=False)
    assert small.limit_field == "max_tokens"
    big = found.route("gpt-4-turbo")
    assert big.endpoint == Endpoint("http://gpu:8000/v1", "gpu-key")
    assert (big.info.upstream_name, big.info.context_window) == ("org/gpt-oss-20b", 131_072)
    assert big.limit_field == "max_tokens"
    other = found.route("GPT-4")  # case matters
    assert (other.endpoint, other.info.upstream_name, other.limit_field) == (DEFAULT, "GPT-4", "max_completion_tokens")
    assert found.endpoints() == (DEFAULT, big.endpoint)


def test_the_route_of_a_name_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting the tokens of a history asks for it once for each text."""
    found = Catalog(DEFAULT)
    route = found.route("gpt-4")
    monkeypatch.setattr(catalog, "facts_of", None)
    assert found.route("gpt-4") is route


def test_the_embedded_model_serves_every_other_name(tmp_path: Path) -> None:
    here = Endpoint("http://127.0.0.1:9/v1")
    found = load_text(tmp_path, '[[models]]\nmatch="real-*"\nbase_url="http://gpu/v1"', EMBEDDED, here)
    assert found.route("gpt-4o").info == EMBEDDED
    assert found.route("real-1").info.upstream_name == "real-1"
    narrowed = load_text(tmp_path, '[[models]]\nmatch="gpt-4"\ncontext_window=1024', EMBEDDED, here)
    assert narrowed.route("gpt-4").info == ModelInfo("smollm2", 1024, "o200k_base", 1.3, vision=False, tools=False)


def test_another_server_never_gets_the_default_key(tmp_path: Path) -> None:
    found = load_text(tmp_path, '[[models]]\nmatch="*"\nbase_url="http://elsewhere/v1"')
    assert found.route("x").endpoint.api_key is None
    own = load_text(tmp_path, '[[models]]\nmatch="*"\napi_key="own-key"')
    assert own.route("x").endpoint == Endpoint(DEFAULT.base_url, "own-key")
    assert "own-key" not in repr(own.route("x"))


@pytest.mark.parametrize(
    ("name", "window", "encoding", "vision"),
    [
        ("gpt-4", 8_192, "cl100k_base", False),
        ("gpt-4-0613", 8_192, "cl100k_base", False),
        ("gpt-4-32k", 32_768, "cl100k_base", False),
        ("gpt-4-turbo-preview", 128_000, "cl100k_base", False),
        ("gpt-4-turbo-2024-04-09", 128_000, "cl100k_base", True),
        ("gpt-4-1106-preview", 128_000, "cl100k_base", False),
        ("gpt-4o-mini", 128_000, "o200k_base", True),
        ("gpt-4.1-nano", 1_047_576, "o200k_base", True),
        ("gpt-3.5-turbo", 16_385, "cl100k_base", False),
        ("gpt-3.5-turbo-0613", 4_096, "cl100k_base", False),
        ("o1", 200_000, "o200k_base", True),
        ("o1-mini", 128_000, "o200k_base", False),
        ("o3-mini", 200_000, "o200k_base", False),
        ("o4-mini", 200_000, "o200k_base", True),
        ("gpt-5-mini", 400_000, "o200k_base", True),
        ("gpt-5.1-chat-latest", 128_000, "o200k_base", True),
        ("ft:gpt-4o-2024-08-06:org::id", 128_000, "o200k_base", True),
        ("openai/gpt-4o", 128_000, "o200k_base", True),
        ("llama-3", catalog.DEFAULT_WINDOW, "cl100k_base", False),
    ],
)
def test_facts_about_well_known_names(name: str, window: int, encoding: str, vision: bool) -> None:
    facts = facts_of(name)
    assert (facts.window, facts.encoding, facts.vision) == (window, encoding, vision)
    assert facts.margin == (catalog.DEFAULT_MARGIN if name == "llama-3" else 1.0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("models = 3", "models: input should be a valid list"),
        ("x = 1", "x: no such key; expected one of models"),
        ("[[models]]", "models[0].match: field required"),
        ('[[models]]\nmatch="a"\nurl="x"', "models[0].url: no such key; expected one of match, base_url"),
        ("[[models]]\nmatch=[]", "models[0].match: list should have at least 1 item"),
        ('[[models]]\nmatch="a"\ncontext_window="8k"', "models[0].context_window: input should be a valid integer"),
        ('[[models]]\nmatch="a"\ncontext_window=8', "models[0].context_window: input should be greater than or equal"),
        ('[[models]]\nmatch="a"\nmargin=0.5', "models[0].margin: input should be greater than or equal to 1"),
        ('[[models]]\nmatch="a"\nmargin=5.0', "models[0].margin: input should be less than or equal to 4"),
        ('[[models]]\nmatch="a"\nencoding="gpt2"', "models[0].encoding: input should be 'cl100k_base' or 'o200k_base'"),
        ('[[models]]\nmatch="a"\nbase_url="gpu:8000"', "models[0].base_url: an http:// or https:// URL was expected"),
        ('[[models]]\nmatch="a"\nbase_url="http://u:p@h"', "models[0].base_url: a URL without user and password"),
        ('[[models]]\nmatch="a"\napi_key="k"\napi_key_env="E"', "models[0]: either api_key or api_key_env, not both"),
        ('[[models]]\nmatch="a"\napi_key_env="EMPTY"', "models[0].api_key_env: the name of an environment variable"),
        ("[[models", "TOML was expected: "),
        ("\n".join('[[models]]\nmatch="a"' for _ in range(catalog.MAX_TABLES + 1)), "models: list should have at most"),
        ("#" * (catalog.MAX_FILE_BYTES + 1), "a file of at most 1048576 bytes was expected"),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(CatalogError) as caught:
        load_text(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'models.toml'}: {line}"), str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.toml: cannot be read: No such file or directory"):
        load_catalog(tmp_path / "none.toml", DEFAULT)
    (tmp_path / "latin").write_bytes(b"# \xff")
    with pytest.raises(CatalogError, match="UTF-8 was expected"):
        load_catalog(tmp_path / "latin", DEFAULT)


def test_prices_are_those_of_the_first_table_that_matches(tmp_path: Path) -> None:
    found = load_text(
        tmp_path,
        """
        [[models]]
        match = "gpt-4o"
        [[models.prices]]
        input = 2.5
        output = 10
        [[models.prices]]
        since = 2026-01-01
        input = 2
        cached_input = 0.1
        output = 8

        [[models]]
        match = "gpt-*"
        """,
    )
    first, second = found.prices("gpt-4o")
    assert (first.since, first.cached_input, second.since, second.cached_input) == (
        date.min,
        Decimal("2.5"),
        date(2026, 1, 1),
        Decimal("0.1"),
    )
    assert found.prices("gpt-4") == found.prices("other") == ()


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ("input = 1", "output"),
        ("input = -1\noutput = 1", "greater than or equal to 0"),
        ("input = 1\noutput = 1\nsince = 'x'", "date"),
        ("input = 1\noutput = 1\n[[models.prices]]\ninput = 1\noutput = 1", "in the order of their days"),
    ],
)
def test_wrong_prices_are_refused(tmp_path: Path, prices: str, words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        load_text(tmp_path, f'[[models]]\nmatch = "gpt"\n[[models.prices]]\n{prices}')
