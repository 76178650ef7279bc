"""The words of texts in many languages: which are divided how, and which queries find them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.search.base import StoreRef
from service.search.languages import LANGUAGES, language_of
from service.search.words import WORD_RULES, divide_query, divide_text
from sql.connection import Connection
from tests.search.conftest import MakeShelf, Shelf
from tests.search.embedding_server import EmbeddingServer

# A sentence of each language, and a query with other forms of its words.
SENTENCES = {
    "arabic": ("تفتح المكتبات في المدينة أبوابها في الساعة التاسعة", "المكتبة"),
    "armenian": ("Գրադարանները բացվում են առավոտյան ժամը իննին", "գրադարաններում"),
    "basque": ("Liburutegiak goizeko bederatzietan irekitzen dira eta gauean ixten dira", "liburutegia"),
    "catalan": ("Les biblioteques de la ciutat obren a les nou amb els llibres del dia", "ciutats"),
    "danish": ("Bibliotekerne åbner klokken ni og lukker når det er mørkt, hvad der ikke er sent", "biblioteker"),
    "dutch": ("De bibliotheken van de stad gaan om negen uur open en sluiten niet", "bibliotheek"),
    "english": ("The libraries of the town open at nine", "library"),
    "finnish": ("Kirjastot avataan yhdeksältä ja ne suljetaan kun on pimeää", "kirjastossa"),
    "french": ("Les bibliothèques municipales ouvrent à neuf heures", "bibliothèque municipale"),
    "german": ("Die Bibliotheken der Stadt öffnen um neun Uhr und schließen um acht", "Bibliothek"),
    "greek": ("Οι βιβλιοθήκες της πόλης ανοίγουν στις εννέα", "βιβλιοθήκη"),
    "hindi": ("शहर की किताबें नौ बजे से मिलती हैं और यह समय है", "किताब"),
    "hungarian": ("A könyvtárak kilenckor nyitnak és este zárnak, ha nem ünnep", "könyvtár"),
    "indonesian": ("Perpustakaan di kota ini membuka pintu pada jam sembilan dan tidak tutup", "dibuka"),
    "irish": ("Osclaíonn na leabharlanna sa bhaile ar a naoi agus dúnann siad tráthnóna", "baile"),
    "italian": ("Le biblioteche della città aprono alle nove", "biblioteca"),
    "lithuanian": ("Bibliotekos atidaromos devintą valandą ir yra uždaromos vakare", "biblioteka"),
    "nepali": ("शहरका पुस्तकालयहरू नौ बजे खुल्छन् र साँझ बन्द हुन्छ भने पनि", "पुस्तकालय"),
    "norwegian": ("Bibliotekene åpner klokken ni og stenger når det blir mørkt", "biblioteket"),
    "portuguese": ("As bibliotecas da cidade não abrem às nove horas", "biblioteca"),
    "romanian": ("Bibliotecile din oraș se deschid la ora nouă și se închid seara", "biblioteca"),
    "russian": ("Библиотеки города открываются в девять часов и не закрываются", "библиотека"),
    "serbian": ("Библиотеке се отварају у девет сати и затварају се када је мрак", "библиотека"),
    "simple": ("Biblioteki miejskie otwierają się o dziewiątej i nie są zamykane przez cały dzień", "biblioteki"),
    "spanish": ("Las bibliotecas de la ciudad abren a las nueve", "biblioteca"),
    "swedish": ("Biblioteken öppnar klockan nio och stänger när det är mörkt", "bibliotek"),
    "tamil": ("நகரத்தின் நூலகங்கள் ஒன்பது மணிக்கு திறக்கின்றன", "நூலகம்"),
    "turkish": ("Kütüphaneler saat dokuzda açılır ve akşam kapanır", "kütüphane"),
    "yiddish": ("די ביבליאָטעקן פֿון דער שטאָט עפֿענען זיך ניין אַזייגער", "ביבליאָטעק"),
}
# Texts in scripts without spaces and in Korean, and words that they have.
SPACELESS = {
    "Chinese": ("市中心的图书馆每天上午九点开门，周末休息。", ("图书馆", "书", "周末")),
    "traditional Chinese": ("市中心的圖書館每天上午九點開門，週末休息。", ("圖書館", "週末")),
    "Japanese": (
        "東京の図書館は毎朝九時に開き、日曜日はお休みです。コンピューターも使えます。",
        ("図書館", "ｺﾝﾋﾟｭｰﾀｰ", "開"),
    ),
    "Korean": ("도서관은 매일 아홉 시에 문을 열고 책을 빌려줍니다", ("도서관", "책", "도서관에서")),
    "Thai": ("ห้องสมุดประชาชนเปิดทุกวันเวลาเก้าโมงเช้า", ("ห้องสมุด", "ทุกวัน")),
    "Lao": ("ຫໍສະໝຸດເປີດທຸກມື້ເວລາເກົ້າໂມງເຊົ້າ", ("ຫໍສະໝຸດ",)),
    "Khmer": ("បណ្ណាល័យបើករៀងរាល់ថ្ងៃម៉ោងប្រាំបួន", ("បណ្ណាល័យ",)),
    "Burmese": ("စာကြည့်တိုက်ကို နေ့တိုင်း ဖွင့်သည်", ("စာကြည့်တိုက်",)),
    "Tibetan": ("དཔེ་མཛོད་ཁང་ཉིན་ལྟར་སྒོ་འབྱེད།", ("དཔེ་མཛོད་ཁང",)),
}
OTHER = "Invoices from the harbour are kept for ten years."


@pytest.fixture
async def shelf(make_shelf: MakeShelf) -> AsyncIterator[Shelf]:
    """A shelf whose embeddings are those of a server of the test."""
    async with EmbeddingServer() as server:
        yield make_shelf(base_url=server.base_url, model="small", key="embedding-key")


@pytest.mark.parametrize("language", SENTENCES)
def test_the_language_of_a_sentence(language: str) -> None:
    assert language_of(SENTENCES[language][0]) == language


def test_every_language_has_a_sentence_here() -> None:
    assert set(SENTENCES) == set(LANGUAGES)


def test_texts_without_evidence_are_english() -> None:
    for text in ("", "4711; 0.25; 17", "def f(x): return x", "PostgreSQL", "图书馆", "Invoice 4711-X"):
        assert language_of(text) == "english", text
    for text in ("این یک متن فارسی است که برای آزمایش نوشته شده", "שלום עולם", "বাংলা লেখা"):
        assert language_of(text) == "simple", text


def test_pairs_of_characters() -> None:
    assert divide_query("图书馆 猫") == ("   ", ["图书", "书馆", "猫"])
    assert divide_text("图书馆 open").pairs == "'图':1 '书':2 '图书':3 '馆':4 '书馆':5"
    assert divide_text("图书馆 open").spaced.split() == ["open"]
    assert divide_query("ที่นี่")[1] == ["ที่นี่"]


def test_compatibility_forms_are_folded() -> None:
    assert divide_query("ＡＢＣ ﬁne co\u00adop cafe\u0301") == ("ABC fine coop café", [])


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("שָׁלוֹם", "שלום"),
        ("كِتَابٌ كتـــاب", "كتاب كتاب"),
        ("क़लम", "कलम"),
        ("l’œuvre Œdipe", "l’oeuvre OEdipe"),
        ("٢٠٢٤ ۲۰۲۴ २०२४", "2024 2024 2024"),
        ("๗๐", "70"),
        ("Donau\u200bdampf\u2060schiff\ufefffahrt", "Donaudampfschifffahrt"),
        ("a\u200eb \u202bc\u202c\u061cd", "ab cd"),
        ("അവന്\u200d क्\u200cष", "അവന് क्ष"),
        ("图书\u200b馆 ภาษา\u200bไทย ភាសា\u200bខ្មែរ", "图书馆 ภาษาไทย ភាសាខ្មែរ"),
        ("葛\U000e0100城 ☺\ufe0f", "葛城 ☺"),
    ],
)
def test_forms_that_writers_choose_freely_are_folded(written: str, other: str) -> None:
    assert divide_query(written) == divide_query(other)
    assert divide_text(written).spaced == divide_text(other).spaced


def test_positions_are_bounded() -> None:
    pairs = divide_text("图书" * 20_000).pairs
    assert max(int(at) for word in pairs.split() for at in word.split(":")[1].split(",")) <= 16_383
    assert max(word.count(",") for word in pairs.split()) < 255


def test_the_joiner_that_stands_for_a_space_divides_persian_words() -> None:
    assert "می\u200cخواهم" in divide_query("می\u200cخواهم")[0]


async def words_find(shelf: Shelf, db: Connection, query: str) -> set[str]:
    """Returns the files whose chunks have some of the query's words."""
    candidates = await shelf.searcher.find_by_words(db, ["vs_a"], query)
    return {file_id for _, file_id, _, _ in candidates}


async def test_each_language_is_found_by_other_forms_of_its_words(shelf: Shelf, db: Connection) -> None:
    for language, (text, _) in SENTENCES.items():
        await shelf.index_file("vs_a", f"file-{language}", f"{language}.txt", text.encode())
        one = f"vs_{language}"
        await shelf.index_file(one, "file-text", "text.txt", text.encode())
        await shelf.index_file(one, "file-other", "other.txt", OTHER.encode())
    found = {
        language: {file for _, file, _, _ in await shelf.searcher.find_by_words(db, [f"vs_{language}"], query)}
        for language, (_, query) in SENTENCES.items()
    }
    assert {language: files for language, files in found.items() if files != {"file-text"}} == {}
    for language in ("english", "french", "german", "russian"):
        assert f"file-{language}" in await words_find(shelf, db, SENTENCES[language][1]), language


async def test_scripts_without_spaces_are_found(shelf: Shelf, db: Connection) -> None:
    for name, (text, _) in SPACELESS.items():
        await shelf.index_file("vs_a", f"file-{name}", "text.txt", text.encode())
    await shelf.index_file("vs_a", "file-other", "other.txt", OTHER.encode())
    for name, (_, queries) in SPACELESS.items():
        for query in queries:
            assert f"file-{name}" in await words_find(shelf, db, query), (name, query)
    found = await shelf.searcher.find_by_words(db, ["vs_a"], "图书馆几点开门")
    assert found[0][1] == "file-Chinese"


async def test_stop_words_of_the_stores_languages_do_not_count_as_unknown(shelf: Shelf) -> None:
    await shelf.index_file("vs_a", "file-de", "de.txt", SENTENCES["german"][0].encode())
    found = await shelf.searcher.search([StoreRef("vs_a", "small")], ["die Bibliothek und der die das"], limit=1)
    with_stop_words = found.hits[0].score
    found = await shelf.searcher.search([StoreRef("vs_a", "small")], ["die Bibliothek"], limit=1)
    assert abs(found.hits[0].score - with_stop_words) < 0.25


async def counts(db: Connection) -> dict[str, int]:
    return {
        row["word"]: row["chunks"] for row in await db.fetch("SELECT word, chunks FROM chunk_words WHERE chunks <> 0")
    }


async def test_words_of_an_older_version_are_renewed(shelf: Shelf, db: Connection) -> None:
    long = (SPACELESS["Chinese"][0] + "\n" + SENTENCES["german"][0] + "\n") * 200
    await shelf.index_file("vs_a", "file-1", "a.txt", long.encode(), max_chunk_tokens=100, overlap_tokens=0)
    await shelf.index_file("vs_a", "file-2", "b.txt", SPACELESS["Thai"][0].encode())
    words = await db.fetch("SELECT file_id, chunk, words FROM chunks ORDER BY file_id, chunk")
    assert len(words) > 64, "several pages of them"
    right = await counts(db)
    # The rows as the release before wrote them; then those of one of its servers that runs beside this version.
    for older in ("array_to_tsvector(ARRAY [store_id]) || to_tsvector('english', text)", "NULL"):
        await db.execute(f"UPDATE chunks SET words = {older}")
        await db.execute("UPDATE chunk_files SET word_rules = 1")
        await db.execute("DELETE FROM chunk_words")
        await db.execute(
            "INSERT INTO chunk_words SELECT store_id, lexeme, count(*) FROM chunks CROSS JOIN LATERAL unnest(words)"
            " GROUP BY store_id, lexeme"
        )
        assert await words_find(shelf, db, "图书馆") == set()
        assert await shelf.indexer.renew_words() == 2
        assert await db.fetch("SELECT file_id, chunk, words FROM chunks ORDER BY file_id, chunk") == words
        assert await counts(db) == right
        assert await words_find(shelf, db, "图书馆") == {"file-1"}
        assert await shelf.indexer.renew_words() == 0
    assert await db.fetchval("SELECT count(*) FROM chunk_files WHERE word_rules = $1", WORD_RULES) == 2


async def test_words_of_an_older_version_are_found_before_they_are_renewed(shelf: Shelf, db: Connection) -> None:
    await shelf.index_file("vs_a", "file-1", "a.txt", OTHER.encode())
    await db.execute("UPDATE chunks SET words = array_to_tsvector(ARRAY [store_id]) || to_tsvector('english', text)")
    await db.execute("UPDATE chunk_words SET chunks = 0 WHERE word LIKE 'language %'")
    assert await words_find(shelf, db, "invoice") == {"file-1"}
