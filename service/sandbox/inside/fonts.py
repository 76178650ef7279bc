"""Fonts of plots: glyphs that a font lacks come from others, whatever fonts the code asks for.

The runner loads this inside, and install.py uses it outside, so it imports nothing of ours. matplotlib draws a text
with a list of fonts. Its settings (MATPLOTLIBRC) name two, but code and styles often replace that list, so every list
also gets the fonts of FALLBACKS that are there.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

MATPLOTLIBRC = "font.family: sans-serif, WenQuanYi Micro Hei\n"
# The fonts of matplotlib (Latin, Greek, Cyrillic, Arabic, Hebrew) and of our packages (Chinese, Japanese, Korean), then
# those that a system may have.
FALLBACKS = (
    "DejaVu Sans", "WenQuanYi Micro Hei", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Devanagari",
    "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai", "Noto Emoji",
)  # fmt: skip
_SYSTEM = "/usr/share/fonts"
_STAMP = "system-fonts.json"


def write_stamp(folder: str) -> None:
    """Writes into `folder` for which fonts of the system the list of fonts there is made."""
    with open(os.path.join(folder, _STAMP), "w") as file:
        json.dump(_stamp(), file)


def drop_stale_list(folder: str) -> None:
    """Removes matplotlib's list of fonts from `folder` if the system has other fonts now, so that it is made again."""
    try:
        with open(os.path.join(folder, _STAMP)) as file:
            if json.load(file) == _stamp():
                return
    except (OSError, ValueError):
        pass
    for name in os.listdir(folder):
        if name.startswith("fontlist"):
            os.unlink(os.path.join(folder, name))


def _stamp() -> list[list[Any]]:
    """Returns the folders of the system's fonts, each with the time of its last change."""
    return sorted([folder, os.stat(folder).st_mtime_ns] for folder, _, _ in os.walk(_SYSTEM))


def add_fallbacks() -> None:
    """Makes matplotlib add the fonts of FALLBACKS to every list of fonts, and silent about fonts that are not there."""
    from matplotlib import font_manager

    logging.getLogger(font_manager.__name__).setLevel(logging.ERROR)  # it warns at every use of such a font

    manager = font_manager.fontManager
    there = {font.name for font in manager.ttflist}
    paths = [manager.findfont(name) for name in FALLBACKS if name in there]
    find = font_manager.FontManager._find_fonts_by_props

    def find_with_fallbacks(self: Any, *arguments: Any, **options: Any) -> list[Any]:
        found = find(self, *arguments, **options)
        return [*found, *(path for path in paths if path not in found)]

    font_manager.FontManager._find_fonts_by_props = find_with_fallbacks
