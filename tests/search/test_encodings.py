"""The guess of a text's encoding, over a corpus of short texts, and texts that are damaged or cut."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from service.search.parse import json_text
from service.search.parse import text as plain_text
from service.search.parse.text import parse
from service.search.parse.types import UnreadableFile, format_of
from tests.search.encoding_corpus import phrases, texts

# Texts of the corpus, of 100, that may be read in a wrong encoding.
MAX_WRONG_PERCENT = 1.0
# The same for its words and phrases of one to four words. Before they were looked at, 27 were.
MAX_WRONG_PHRASES_PERCENT = 10.0


def decode(data: bytes) -> str:
    return "".join(text for text, _ in parse(io.BytesIO(data)))


def test_short_texts_of_many_encodings() -> None:
    wrong, counts = [], Counter[str]()
    for encoding, text in texts():
        counts[encoding] += 1
        if (found := decode(text.encode(encoding))) != text:
            wrong.append((encoding, text, found))
    assert counts.total() >= 300
    assert len(counts) >= 15
    assert len(wrong) <= MAX_WRONG_PERCENT / 100 * counts.total(), wrong


def test_words_and_phrases_of_many_encodings() -> None:
    every = list(phrases())
    wrong = [(encoding, text) for encoding, text in every if decode(text.encode(encoding)) != text]
    assert len(every) >= 300
    assert len({encoding for encoding, _ in every}) >= 15
    assert len(wrong) <= MAX_WRONG_PHRASES_PERCENT / 100 * len(every), wrong


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('<meta charset="windows-1251"><p>я', "cp1251"),
        ('<meta http-equiv=x content="text/html; charset=ISO-8859-7"><p>λόγος', "iso8859-7"),
        ('<?xml version="1.0" encoding="EUC-JP"?><p>東京', "euc_jp"),
        ('# -*- coding: koi8-r -*-\nc = "я"', "koi8-r"),
        ("# vim: set fileencoding=cp1254 :\nağaç", "cp1254"),
        ("\\usepackage[latin2]{inputenc} Łódź", "iso8859-2"),
        ("\\usepackage[ansinew]{inputenc} Käse", "cp1252"),
        ('@charset "iso-8859-15"; a::before { content: "€" }', "iso8859-15"),
        ("<meta charset=utf-8><p>café", "cp1252"),
        ("<meta charset=shift_jis><p>①東", "cp932"),
        ("<meta charset=nonsense><p>café", "cp1252"),
        ("<meta charset=unicode_escape><p>caf\\u00e9 é", "cp1252"),
        ("<meta charset=utf-7><p>é", "cp1252"),
        ("<meta charset=cp037><p>é", "cp1252"),
        ("<meta charset=windows-1251><p>Größe", "utf-8"),
    ],
)
def test_encodings_that_texts_declare(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("good utf-8 é ".encode() * 50 + b"\xff", "good utf-8 é " * 50 + "\ufffd"),
        (b"\xff\xfb" + "größer als é und ü, öfter ".encode() * 5, "\ufffd\ufffd" + "größer als é und ü, öfter " * 5),
        ("Größe und Straße\n".encode() * 20 + "Größe".encode("latin-1"), "Größe und Straße\n" * 20 + "Gr\ufffd\ufffde"),
        ("Wörter und mehr Wörter. ".encode() * 20 + b"\xc3", "Wörter und mehr Wörter. " * 20 + "\ufffd"),
        ("図書館".encode() * 9 + "館".encode()[:2], "図書館" * 9 + "\ufffd"),
        ("図書館".encode("utf-16-le") + b"\x28", "図書館\ufffd"),
        ("これは短い文です。".encode("euc-jp")[:-1], "これは短い文です\ufffd"),
        ("お茶はどこですか".encode("euc-jp"), "お茶はどこですか"),
        ("Überall".encode("cp1252"), "Überall"),
        (b"plain ASCII, \x1b[31mred\x1b[0m", "plain ASCII, \x1b[31mred\x1b[0m"),
        ("\ufffd is the replacement character, é is not".encode(), "\ufffd is the replacement character, é is not"),
        (b"one and\0 a two", "one and\0 a two"),
        ("Nur ein Zeichen: ü".encode(), "Nur ein Zeichen: ü"),
    ],
)
def test_damaged_and_cut_texts(data: bytes, expected: str) -> None:
    assert decode(data) == expected


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_048_575, 1_048_577])
def test_characters_at_the_edges_of_pieces(size: int) -> None:
    text = "é" * size
    assert decode(text.encode()) == text


@pytest.mark.parametrize("data", [bytes(300_000), bytes(range(32)) * 1000])
def test_data_that_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFile):
        decode(data)


@pytest.mark.parametrize(
    ("text", "encoding"), [("简体中文测试文本", "gbk"), ("한국어텍스트입니다", "euc_kr"), ("日本語の文章", "euc_jp")]
)
def test_texts_without_ascii_are_not_taken_for_utf16(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("L’élève a déjà été prévenu à temps.", "cp1252"),  # not Cyrillic inside words
        ("¿Cuándo llegará el señor Núñez mañana?", "cp1252"),
        ("¿Cuándo llegará el señor Núñez mañana?", "iso8859-1"),
        ("おはようございます、皆さん。", "shift_jis"),
        ("Czy wiesz, że to prawda?", "cp1250"),
        ("Список товаров и цен", "cp1251"),
        ("Список товаров и цен для iPhone", "koi8-r"),
        ("┌───────┬───┐\n│ Größe │ 5 │\n│ Stück │ 7 │\n└───────┴───┘", "cp850"),
        ("Добро јутро! Њена кућа је велика.", "cp1251"),  # Russian capitals in Mac Cyrillic
        ("Škoda, žena, život", "cp1250"),  # è, ¸ and × in DOS
    ],
)
def test_texts_that_look_like_others(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


JSON = r'{"caf\u00e9": "\u56fe\u4e66\u9986 \ud83d\ude00 \u0022 \u0041 \\u00e9 \\\u00e9 \ud83d \u200b", "C:\\users": 1}'
SHOWN = r'{"café": "图书馆 😀 \u0022 \u0041 \\u00e9 \\é \ud83d \u200b", "C:\\users": 1}'


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1024 * 1024])
def test_letters_that_json_escapes_are_letters(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(plain_text, "READ", size)
    assert format_of("a.json") == "json_text"
    assert "".join(piece for piece, _ in json_text.parse(io.BytesIO(JSON.encode()))) == SHOWN
    run = "\\" * 201 + "u00e9"
    assert "".join(piece for piece, _ in json_text.parse(io.BytesIO(run.encode()))) == "\\" * 200 + "é"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Straße in München: 5 €, 1+1=2", "utf-7"),
        ("日本語の文書です。", "utf-7"),
        ("中文字符测试，今天天气很好。", "hz"),
        ("Answer: 好 of course", "hz"),
    ],
)
def test_encodings_of_seven_bits(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "text",
    ["a+b-c", "x = i++ - ++j", "tel. +49-30-1234", "dGVzdA+AND-B/+x==", "a ~{ b ~} c", "if (~{1}) ~}", "C++ and +A- +",
     "charset=utf-8 Stra+AN8-e"],
)  # fmt: skip
def test_ascii_that_looks_like_encodings_of_seven_bits(text: str) -> None:
    assert decode(text.encode()) == text
