"""The text that a reader of an HTML page sees."""

from __future__ import annotations

import io

import pytest

from service.search.parse import html


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p hidden>no</p><p aria-hidden=true>A</p><details><summary>S</summary>D</details>", "A\nS\nD\n"),
        ('<p style="color: red; DISPLAY : none">no</p><p style="visibility:hidden">no<b>no</b></p><p style=a>A', "A\n"),
        ("<dialog>no</dialog><dialog open>A</dialog><p popover>no</p><template>no</template>", "A\n"),
        ("<body><noscript>no</noscript><video>no</video><canvas>no</canvas><audio>no</audio><p>A", "A\n"),
        ("<p hidden=until-found>A</p><div hidden role=tabpanel>B</div>", "A\nB\n"),
        ("<a href='#m'>Menu</a><div id=m hidden>A</div><p id=n hidden>no</p><p id='' hidden>no", "Menu\nA\n"),
        ("<button aria-controls='x m'>Menu</button><div id=m style='display:none'>A</div>", "Menu\nA\n"),
        ("<body style='visibility:hidden'><p>A", "A\n"),
        (
            "<svg><defs><symbol><title>no</title></symbol></defs>"
            "<text><tspan x=0>a</tspan><tspan x=0 dy=1>b</tspan></text>",
            "a b\n",
        ),
        (
            "<button>A</button><button>B</button><textarea>c\n d</textarea><select><option>e</select>",
            "A\nB\nc\n d\ne\n",
        ),
        ("<math><mfrac><mi>x</mi><mi>y</mi></mfrac><annotation>no</annotation></math>", "x/y\n"),
        (
            "<math><munderover><mo>∑</mo> <mi>i</mi> <mi>n</mi></munderover><msqrt><mi>c</mi></msqrt><mtable>"
            "<mtr><mtd>a</mtd><mtd>b</mtd></mtr><mtr><mtd>c</mtd></mtr></mtable></math>",
            "∑ _i ^n√ca b; c\n",
        ),
        ("<p>Name: <input placeholder='Your name'><progress>no</progress>", "Name: Your name\n"),
        ("<ruby>東<rp>(</rp><rt>とう</rt><rp>)</rp>京<rt>きょう</rt></ruby>タワー", "東京タワー\nとう\nきょう\n"),
        ("<p>Tide <svg><title>no</title><defs><text>no</text></defs><text>4 m</text></svg></p>", "Tide\n4 m\n"),
        (
            '<p>Name: <input value="Ms Ødegård"><input type=hidden value=no><input type=password value=no></p>',
            "Name: Ms Ødegård\n",
        ),
        ("<table><tr><td><p>a</p></td><td>\n<div>b</div>\n</td><th>c</th></tr></table>", "a\tb\tc\n"),
        ("<table><tr><td><p>a</p><p>b</p></td><td>c</td></tr></table>", "a\nb\nc\n"),
        ("<table><tr><td>a<table><tr><td>b</td><td>c</td></tr></table></td><td>d</td></tr></table>", "a\nb\tc\nd\n"),
        (
            "<ol><li>a<li><p>b</p><p>more</p><ol type=a><li>c</ol><li> d</ol><ul><li>e</ul>",
            "1. a\n2. b\nmore\na. c\n3. d\ne\n",
        ),
        ("<ol start=4><li>a<li value=9>b<li>c</ol><ol reversed><li>x<li>y</ol>", "4. a\n9. b\n10. c\n2. x\n1. y\n"),
        ("<ol type=I><li>a<li><ul><li>b</ul></ol>", "I. a\nII. b\n"),
        ("<p dir=rtl>مرحبا <b>بالعالم</b></p>", "مرحبا بالعالم\n"),
    ],
)
def test_pages(page: str, expected: str) -> None:
    assert "".join(text for text, _ in html.parse(io.BytesIO(page.encode()))) == expected


def test_long_rows_take_linear_time() -> None:
    page = f"<table><tr><td>{'<p>a</p> ' * 100_000}</td></tr></table>"
    assert "".join(text for text, _ in html.parse(io.BytesIO(page.encode()))) == "a\n" * 100_000
