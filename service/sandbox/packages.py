"""The sets of packages of the sandbox's Python: small, full, and either with packages of the operator's own list.

The small set is made first, so that it serves early; the full set is made in the background and replaces it for new
sessions. Packages of an own list come on top of either. Each set has a lock with versions and hashes; an own list has
the versions of its set as constraints, and its own packages are as the list says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

SetName = Literal["small", "full"]
# Packages that code does not import by themselves: fonts, and a part of Python's library that newer versions lack.
_UNLISTED = frozenset(("paperang-p2-fonts-cjk", "audioop-lts"))
_LISTS: dict[SetName, tuple[str, ...]] = {"small": ("packages.in",), "full": ("packages.in", "packages-full.in")}
_LOCKS: dict[SetName, str] = {"small": "packages.lock", "full": "packages-full.lock"}
# The lock of the wheel that holds data of nltk, which only the full set has.
_NLTK_DATA_LOCK = "nltk-data.lock"
# Modules that are imported once, to check a copy of Python and to make matplotlib's list of fonts.
_SMALL_MODULES = (
    "ssl, sqlite3, zlib, lzma, bz2, ctypes, IPython, numpy, pandas, scipy.stats, sklearn, sympy, openpyxl, PIL, docx, "
    "pptx, pypdf, pypdfium2, pdfplumber, fpdf, reportlab.pdfgen, lxml, selectolax.lexbor, charset_normalizer, "
    "requests, sqlalchemy, networkx, seaborn, matplotlib.pyplot"
)
_FULL_MODULES = (
    "pyarrow.parquet, h5py, numba, statsmodels.api, skimage, cv2, xgboost, lightgbm, gensim, nltk, shapely, geopandas, "
    "soundfile, plotly, bokeh, altair, wordcloud, jieba"
)
_MODULES: dict[SetName, str] = {"small": _SMALL_MODULES, "full": f"{_SMALL_MODULES}, {_FULL_MODULES}"}
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*==[^\s;]+ *(?:;[^\\\n]*)?)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PackageSet:
    """One set of packages. `requirements` is the text of the operator's own requirements file, or empty."""

    name: SetName
    requirements: str = ""

    def __str__(self) -> str:
        return f"{self.name}, with packages of its own" if self.requirements else self.name

    @property
    def lock(self) -> str:
        """The text of the lock, with versions and hashes."""
        return _text(_LOCKS[self.name])

    @property
    def nltk_data_lock(self) -> str | None:
        """The text of the lock of the wheel with nltk's data, if the set has that data."""
        return _text(_NLTK_DATA_LOCK) if self.name == "full" else None

    @property
    def constraints(self) -> str:
        """The lock's versions without hashes, for packages that are installed on top."""
        return "".join(f"{found.strip()}\n" for found in _LOCKED.findall(self.lock))

    @property
    def package_names(self) -> list[str]:
        """The names of the packages, sorted, without those that only others need, and without an own list's."""
        lines = [line.split(";")[0].strip() for name in _LISTS[self.name] for line in _text(name).splitlines()]
        named = {line for line in lines if line and not line.startswith(("#", "-"))}
        return sorted(named - _UNLISTED, key=str.lower)

    @property
    def modules(self) -> str:
        """Modules of the set, with commas between, which are imported to check a copy."""
        return _MODULES[self.name]

    @property
    def base(self) -> PackageSet:
        """The set without the own list."""
        return PackageSet(self.name)

    @property
    def stages(self) -> list[PackageSet]:
        """The sets that are made in turn, each of which replaces the one before: this set is the last."""
        return list(dict.fromkeys((SMALL, self.base, self)))


SMALL = PackageSet("small")


def read_requirements(path: Path | None) -> str:
    """Returns the text of an own list, or an empty text if there is none. Raises OSError, UnicodeDecodeError."""
    return path.read_text().strip() if path is not None else ""


def _text(name: str) -> str:
    return files("service.sandbox").joinpath(name).read_text()
