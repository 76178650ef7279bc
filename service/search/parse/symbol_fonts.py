"""Letters of symbol fonts, which documents store as codes from F000 on, as characters of Unicode.

The codes of the font Symbol are Adobe's Symbol encoding. Of Wingdings the marks are read that have a meaning in a text:
boxes, check marks, arrows and numbers. Letters of other fonts have no meaning without their font, and are left out.
"""

from __future__ import annotations

_FIRST, _LAST = 0xF000, 0xF0FF
_PRIVATE = range(0xE000, 0xF900)
_SYMBOL_LOW = " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"
_SYMBOL_HIGH = "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪\ue000〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭"
_SYMBOL = {0x20 + at: letter for at, letter in enumerate(_SYMBOL_LOW)}
_SYMBOL |= {0xA0 + at: letter for at, letter in enumerate(_SYMBOL_HIGH) if letter != "\ue000"}
_WINGDINGS = {0x6C: "●", 0x6E: "■", 0x6F: "☐", 0x71: "☐", 0xA7: "▪", 0xA8: "☐", 0xD8: "➢", 0xFB: "✗", 0xFC: "✓"}
_WINGDINGS |= {0xFD: "☒", 0xFE: "☑", **{0xDF + at: letter for at, letter in enumerate("←→↑↓↖↗↙↘")}}
_WINGDINGS |= {0x81 + at: letter for at, letter in enumerate("①②③④⑤⑥⑦⑧⑨⑩")}
_WINGDINGS |= {0x8C + at: letter for at, letter in enumerate("❶❷❸❹❺❻❼❽❾❿")}
_FONTS = {"symbol": _SYMBOL, "wingdings": _WINGDINGS}


def symbol_letter(code: int, font: str) -> str:
    """Returns the character with this code in a font. Returns an empty text if it has no meaning, or is none."""
    known = _FONTS.get(font.lower())
    if known is not None and (_FIRST <= code <= _LAST or code <= 0xFF):
        return known.get(code & 0xFF, "")
    if code in _PRIVATE or not 0x20 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return ""
    return chr(code)


def read_symbols(text: str, font: str | None) -> str:
    """Returns the text with the letters of the symbol font `font` as characters of Unicode."""
    if font is None or font.lower() not in _FONTS or not any(_FIRST <= ord(letter) <= _LAST for letter in text):
        return text
    return "".join(symbol_letter(ord(letter), font) if _FIRST <= ord(letter) <= _LAST else letter for letter in text)
