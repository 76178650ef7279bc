"""The `pip` of the sandbox: it lists the packages that are installed, and reports at once that none can be added.

It is installed inside as the package `pip`, and as the programs `pip` and `pip3`.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

__version__ = "0"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Options of `pip install` whose value is the next argument.
_WITH_VALUE = {
    "-r", "--requirement", "-c", "--constraint", "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t",
    "--target", "--prefix", "--root", "--timeout", "--retries", "--trusted-host", "--proxy", "--progress-bar",
}  # fmt: skip
# Packages that another one replaces inside, with the same module.
_REPLACED = {
    "bs4": "beautifulsoup4", "jieba": "jieba-py", "opencv-python": "opencv-python-headless", "sklearn": "scikit-learn",
    "xgboost": "xgboost-cpu",
}  # fmt: skip


def main(args: Sequence[str] | None = None, *_: Any, **__: Any) -> int:
    """Carries out one command line of pip. Returns its exit code: 1 if it would have needed the network."""
    words = [str(word) for word in (sys.argv[1:] if args is None else args)]
    command = next((word for word in words if not word.startswith("-")), "--version" if "--version" in words else "")
    rest = words[words.index(command) + 1 :] if command in words else []
    if command in ("list", "freeze"):
        for line in sorted(_package_lines("==" if command == "freeze" else " "), key=str.lower):
            sys.stdout.write(f"{line}\n")
        return 0
    if command == "show":
        return _show([word for word in rest if not word.startswith("-")])
    if command == "install":
        return _install(rest)
    if command in ("check", "help", "--version", ""):
        sys.stdout.write("pip of the sandbox: list, freeze, show\n")
        return 0
    return _refuse()


def _package_lines(between: str) -> Iterator[str]:
    for found in metadata.distributions():
        yield f"{found.metadata['Name']}{between}{found.version}"


def _show(names: Sequence[str]) -> int:
    missing = 0
    for name in names:
        try:
            found = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            sys.stderr.write(f"WARNING: Package(s) not found: {name}\n")
            missing = 1
        else:
            sys.stdout.write(
                "".join(f"{key}: {found[key]}\n" for key in ("Name", "Version", "Summary") if key in found)
            )
    return missing


def _install(words: Sequence[str]) -> int:
    """Succeeds if every requirement is installed already."""
    requirements: list[str] = []
    skips = False
    for word in words:
        if not skips and not word.startswith("-"):
            requirements.append(word)
        skips = not skips and word in _WITH_VALUE
    if not requirements or any(word in ("-r", "--requirement", "-e", "--editable") for word in words):
        return _refuse()
    for requirement in requirements:
        name = _find_satisfying(requirement)
        if name is None:
            sys.stderr.write(f"ERROR: {requirement} is not installed.\n")
            return _refuse()
        sys.stdout.write(f"Requirement already satisfied: {requirement} ({metadata.version(name)})\n")
    return 0


def _find_satisfying(requirement: str) -> str | None:
    """Returns the name of the package that is installed and fits the requirement, itself or in its place, or None."""
    match = _NAME.match(requirement)
    if match is None or "/" in requirement or "://" in requirement:
        return None
    name = match[0]
    name = _REPLACED.get(name.lower().replace("_", "-"), name)
    try:
        version = metadata.version(name)
        from packaging.requirements import Requirement

        return name if Requirement(requirement).specifier.contains(version, prereleases=True) else None
    except (ImportError, ValueError):  # not installed, or no requirement
        return None


def _refuse() -> int:
    importlib.import_module("sitecustomize").report()  # network.py
    return 1
