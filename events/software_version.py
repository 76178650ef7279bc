"""The version of this software that is stored with each event: the release, and in a git checkout its commit too.

The commit is read from git's own files, since the git program need not be installed (gitrepository-layout(5)).
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Hexadecimal digits of a commit that are stored.
SHORT_HASH = 12
# Symbolic refs that are followed from HEAD: a bound, since refs may form a loop.
MAX_REFS = 5
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def release_name() -> str:
    """Returns the version of the installed package, or `source` if the package is not installed."""
    try:
        return version("everthread")
    except PackageNotFoundError:
        return "source"


def describe_software(release: str, root: Path) -> str:
    """Returns the release, with `+g` and a short hash behind it if `root` is the root of a git checkout."""
    commit = read_commit(root)
    return release if commit is None else f"{release}+g{commit[:SHORT_HASH]}"


def read_commit(root: Path) -> str | None:
    """Returns the hash of the commit that is checked out in `root`.

    Returns None if `root` is not the root of a checkout, if there is no commit yet, or if git's files cannot be read.
    """
    try:
        git_dir = _find_git_dir(root)
        return None if git_dir is None else _resolve_head(git_dir)
    except (OSError, UnicodeDecodeError):
        return None


def _find_git_dir(root: Path) -> Path | None:
    """Returns the folder of HEAD. In a worktree or a submodule, `.git` is a file that names it."""
    entry = root / ".git"
    if entry.is_dir():
        return entry
    if not entry.is_file():
        return None
    text = entry.read_text().strip()
    return root / text.removeprefix("gitdir:").strip() if text.startswith("gitdir:") else None


def _resolve_head(git_dir: Path) -> str | None:
    common_dir = _find_common_dir(git_dir)
    content = _read_line(git_dir / "HEAD")
    for _ in range(MAX_REFS):
        if content is None or not content.startswith("ref:"):
            break
        content = _read_ref(git_dir, common_dir, content.removeprefix("ref:").strip())
    return content if content is not None and _HASH.fullmatch(content) else None


def _find_common_dir(git_dir: Path) -> Path:
    """Returns the folder of the refs that all worktrees of a repository share."""
    named = _read_line(git_dir / "commondir")
    return git_dir if named is None else git_dir / named


def _read_ref(git_dir: Path, common_dir: Path, ref: str) -> str | None:
    return _read_line(git_dir / ref) or _read_line(common_dir / ref) or _read_packed_ref(common_dir, ref)


def _read_packed_ref(common_dir: Path, ref: str) -> str | None:
    path = common_dir / "packed-refs"
    if not path.is_file():
        return None
    for line in path.read_text().splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return commit
    return None


def _read_line(path: Path) -> str | None:
    return path.read_text().strip() if path.is_file() else None


RELEASE = release_name()
SOFTWARE_VERSION = describe_software(RELEASE, Path(__file__).parents[1])
