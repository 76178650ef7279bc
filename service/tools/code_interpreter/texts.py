"""What the model reads of code_interpreter: its description, the files at hand, and what came of a call. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from service.sandbox.base import DATA

# Few words: the embedded model, which has 135 million parameters, would rather repeat more than write code.
DESCRIPTION = "Runs Python and shows what it prints."
# What models with a larger window than SMALL_WINDOW are told besides.
GUIDE = (
    "code_interpreter runs Python in a sandbox without network and shows what is printed, the value of the last "
    "expression and plots. Variables, imports and files stay from call to call. "
    f"Files lie in {DATA}, the working directory. To hand a file to the user, save it there and link it in your answer "
    f"as [name](sandbox:{DATA}/name). Plots that are shown (matplotlib: plt.show()) reach the user by themselves. "
    "numpy, pandas, matplotlib, scipy, scikit-learn, sympy, seaborn, pillow, openpyxl, python-docx, python-pptx, pypdf "
    "and reportlab are installed."
)
SMALL_WINDOW = 8192  # tokens
PARAMETERS = {
    "type": "object",
    "properties": {"code": {"type": "string"}},
    "required": ["code"],
    "additionalProperties": False,
    # Models without tools of their own are shown it: the embedded one does not come to an end without.
    "examples": [{"code": "print(2 + 3)"}],
}
# Said with the first call of a session that is not the thread's first.
ANEW = "Note: this is a new Python session. Variables and imports of earlier calls are gone; files are back."
# Files that the model is told of before each of its turns.
MOST_LISTED = 40
# Of a text that is too long, the part that is kept of its beginning; the rest is its end, where errors are.
_HEAD = 0.6


def brief(files: str, window: int) -> str:
    """What a model with that window is told before each of its turns; `files` as `listing` has them."""
    return "\n".join(part for part in (GUIDE if window > SMALL_WINDOW else "", files) if part)


def listing(named: Sequence[tuple[str, str, str | None]], more: int) -> str:
    """What the model is told of the files at hand: (id, name, the path that it has under its name, if any)."""
    if not named:
        return ""
    lines = [
        f"- {DATA}/{file_id}" + (f", also {DATA}/{path}" if path else f" (its name is {name}, which another file has)")
        for file_id, name, path in named
    ]
    if more:
        lines.append(f"- and {more} more")
    return "Files that code_interpreter can read:\n" + "\n".join(lines)


def shortened(text: str, room: int) -> str:
    """At most about `room` characters: the beginning and the end, and between them how many were left out."""
    if len(text) <= room:
        return text
    head = int(room * _HEAD)
    tail = room - head
    left_out = len(text) - room
    return f"{text[:head]}\n[{left_out} characters of the output are left out here]\n{text[len(text) - tail :]}"


def told(logs: str, images: int, files: Sequence[str], notes: Sequence[str], room: int, *, failed: bool) -> str:
    """What the model reads of a call. `files` are paths as it names them; what it printed is cut first, to fit."""
    said = []
    if images:
        said.append(f"[{images} image{'s were' if images > 1 else ' was'} shown to the user]")
    if files:
        said.append("Files made or changed: " + ", ".join(files))
    said += notes
    after = "\n".join(said)
    room = max(room - len(after) - 100, room // 2)
    parts = [shortened(logs.rstrip("\n"), room), after]
    silent = "[The code failed and printed nothing.]" if failed else "[The code ran without error and printed nothing.]"
    return "\n".join(part for part in parts if part) or silent
