"""The texts of code_interpreter for the model: its description, the files at hand, and results of calls. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from service.sandbox.base import DATA, FONTS

# Additional text for models whose window is larger than SMALL_WINDOW.
GUIDE = (
    "code_interpreter runs Python in a sandbox without network and shows what is printed, the value of the last "
    "expression and plots. Variables, imports and files stay from call to call. "
    f"Files lie in {DATA}, the working directory. To hand a file to the user, save it there and link it in your answer "
    f"as [name](sandbox:{DATA}/name). Plots that are shown (matplotlib: plt.show()) reach the user by themselves. "
    "numpy, pandas, matplotlib, scipy, scikit-learn, sympy, seaborn, pillow, openpyxl, python-docx, python-pptx, pypdf "
    "and reportlab are installed; `pip list` shows more. Plots have glyphs for Arabic, Chinese, Japanese and Korean by "
    f"themselves; for PDF files there are fonts in {FONTS}."
)
SMALL_WINDOW = 8192  # tokens
# Added to the first call of a session if it is not the thread's first session.
NEW_SESSION = "Note: this is a new Python session. Variables and imports of earlier calls are gone; files are back."
# Bounds the files that are listed before each turn of the model.
MOST_LISTED = 40
# The share of a cut text that is kept of its beginning. The rest is kept of its end, where errors are.
_HEAD = 0.6


def brief(files: str, window: int) -> str:
    """Returns the instructions before each turn of a model with that window. `files` are those of `listing`."""
    return "\n".join(part for part in (GUIDE if window > SMALL_WINDOW else "", files) if part)


def listing(named: Sequence[tuple[str, str, str | None]], more: int) -> str:
    """Returns the list of the files at hand: (id, name, path under that name, or None if it has none)."""
    if not named:
        return ""
    lines = [
        f"- {DATA}/{file_id}" + (f", also {DATA}/{path}" if path else f" (its name is {name}, which another file has)")
        for file_id, name, path in named
    ]
    if more:
        lines.append(f"- and {more} more")
    return "Files that code_interpreter can read:\n" + "\n".join(lines)


def shorten(text: str, room: int) -> str:
    """Cuts the middle out of a text so that about `room` characters remain, and says how many are missing."""
    if len(text) <= room:
        return text
    head = int(room * _HEAD)
    tail = room - head
    left_out = len(text) - room
    return f"{text[:head]}\n[{left_out} characters of the output are left out here]\n{text[len(text) - tail :]}"


def result_text(logs: str, images: int, files: Sequence[str], notes: Sequence[str], room: int, *, failed: bool) -> str:
    """Returns the result's text for the model. `files` are paths in the sandbox. Printed output is cut first."""
    said = []
    if images:
        said.append(f"[{images} image{'s were' if images > 1 else ' was'} shown to the user]")
    if files:
        said.append("Files made or changed: " + ", ".join(files))
    said += notes
    after = "\n".join(said)
    room = max(room - len(after) - 100, room // 2)
    parts = [shorten(logs.rstrip("\n"), room), after]
    silent = "[The code failed and printed nothing.]" if failed else "[The code ran without error and printed nothing.]"
    return "\n".join(part for part in parts if part) or silent
