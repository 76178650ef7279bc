"""The documents of `scripts/bench indexing`: English text, a table as .csv, a page of HTML, a PDF, and a small file.

The English is that of this repository's documents, again and again if they are too short.
"""

from __future__ import annotations

import html
import re
from itertools import cycle
from pathlib import Path
from random import Random

from tests.search import sample_documents

KB = 1000
# Bytes of each document.
SIZES = {"english.txt": 105 * KB, "table.csv": 1500 * KB, "page.html": 3000 * KB, "paper.pdf": 200 * KB}
SMALL = "small.txt"
SMALL_SIZE = 4 * KB
_DOCS = Path(__file__).parents[1] / "docs"
_SEED = 10
# Words of a line of the PDF, and lines of a page.
_WORDS, _LINES = 9, 45
_MARKS = re.compile(r"[|`*#\[\]()<>]|https?:\S+")


def make_documents(scale: float = 1.0) -> dict[str, bytes]:
    """Returns the documents by name, each of `scale` times its usual size."""
    sizes = {name: int(size * scale) for name, size in SIZES.items()}
    return {
        "english.txt": _english(sizes["english.txt"]).encode(),
        "table.csv": _table(sizes["table.csv"]),
        "page.html": _page(sizes["page.html"]),
        "paper.pdf": _paper(sizes["paper.pdf"]),
        SMALL: _english(SMALL_SIZE).encode(),
    }


def _english(size: int) -> str:
    texts = (_MARKS.sub("", path.read_text()) for path in sorted(_DOCS.glob("*.md")))
    paragraphs = [paragraph for text in texts for paragraph in text.split("\n\n") if paragraph.count(" ") > 10]
    english, length = list[str](), 0
    for paragraph in cycle(paragraphs):
        english.append(paragraph)
        length += len(paragraph) + 2
        if length >= size:
            return "\n\n".join(english).encode().decode("ascii", "ignore")[:size]
    raise AssertionError("the documents have paragraphs")


def _table(size: int) -> bytes:
    """Returns orders: a number, a date, a name, a place, amounts and a remark in each row."""
    random, words = Random(_SEED), _english(50 * KB).split()
    rows, length, number = ["number,date,customer,city,quantity,price,total,remark"], 0, 0
    while length < size:
        number += 1
        quantity, price = random.randint(1, 40), random.randint(100, 99_999) / 100
        date = f"2024-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
        name, city = (random.choice(words).strip(".,:;") for _ in range(2))
        remark = " ".join(random.choice(words).strip(",") for _ in range(random.randint(0, 6)))
        rows.append(f"{number},{date},{name},{city},{quantity},{price:.2f},{quantity * price:.2f},{remark}")
        length += len(rows[-1]) + 1
    return "\n".join(rows).encode()[:size]


def _page(size: int) -> bytes:
    """Returns a page of which three quarters are tags, attributes, styles and scripts, as pages of the web are."""
    items, length = ["<!DOCTYPE html><html><head><title>Page</title></head><body>"], 0
    for number, paragraph in enumerate(_english(size // 4).split("\n\n")):
        text = html.escape(paragraph)
        noise = "".join(f'data-track-{n}="section-{number}-item-{n}" ' for n in range(1 + len(text) // 20))
        items.append(f'<section class="card wide" {noise}><p class="text body">{text}</p></section>')
        length += len(items[-1])
    items.append(f"<script>var state = '{'x' * max(0, size - length)}';</script></body></html>")
    return "\n".join(items).encode()


def _paper(size: int) -> bytes:
    """Returns pages of lines of text."""
    words = _english(size).replace("\\", "").split()
    lines = [" ".join(words[at : at + _WORDS]) for at in range(0, len(words), _WORDS)]
    pages = [lines[at : at + _LINES] for at in range(0, len(lines), _LINES)]
    return sample_documents.pdf(") Tj 0 -14 Td (".join(page) for page in pages)
