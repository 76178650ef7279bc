"""Makes a release of the main branch: a commit with the version and the changelog, and an annotated tag.

    scripts/release VERSION [--dry-run]

The release is made if the version is newer than that of pyproject.toml, the current branch is main, the working tree is
clean, the section "Unreleased" of CHANGELOG.md has content, and `scripts/check` succeeds. Then the section moves under
the version and the date, pyproject.toml gets the version, and both are committed and tagged. Nothing is pushed. With
`--dry-run` the script prints the changes, runs no check and changes nothing. Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = "CHANGELOG.md"
PROJECT = "pyproject.toml"
BRANCH = "main"
_UNRELEASED = re.compile(r"^## \[Unreleased\]\n(.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)
_VERSION = re.compile(r'^version = "(\d+\.\d+\.\d+)"$', re.MULTILINE)


class ReleaseError(Exception):
    """The release cannot be made; the message is one line that says why."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/release", description="Makes a release: commit and tag, no push.")
    parser.add_argument("version", help="for example 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="print the changes, and change nothing")
    given = parser.parse_args()
    try:
        release(given.version, is_dry_run=given.dry_run)
    except ReleaseError as error:
        sys.exit(f"release: {error}")


def release(version: str, *, is_dry_run: bool) -> None:
    """Makes the release, or prints what it would change. Raises ReleaseError."""
    before = {name: (ROOT / name).read_text() for name in (CHANGELOG, PROJECT)}
    _check_version(version, before[PROJECT])
    _check_repository()
    notes = unreleased_notes(before[CHANGELOG])
    after = {
        CHANGELOG: release_changelog(before[CHANGELOG], version, datetime.now(UTC).date()),
        PROJECT: _VERSION.sub(f'version = "{version}"', before[PROJECT], count=1),
    }
    if is_dry_run:
        for name in before:
            _print_diff(name, before[name], after[name])
        print(f"Would run scripts/check, commit these changes as 'Release {version}', and tag them v{version}.")
        return
    if subprocess.run([ROOT / "scripts" / "check"], cwd=ROOT, check=False).returncode != 0:
        raise ReleaseError("scripts/check failed")
    _check_repository()  # nothing has changed during the check
    for name, text in after.items():
        (ROOT / name).write_text(text)
    _git("commit", "--quiet", "--message", f"Release {version}", "--", *after)
    # Lines of the notes that begin with # are headings, not comments.
    _git("tag", "--annotate", f"v{version}", "--cleanup=whitespace", "--message", f"Everthread {version}\n\n{notes}")
    print(f"Released {version}. To publish it: git push --atomic origin {BRANCH} v{version}")


def unreleased_notes(changelog: str) -> str:
    """Returns the text of the section "Unreleased". Raises ReleaseError if it is missing or empty."""
    found = _UNRELEASED.search(changelog)
    if found is None or not found[1].strip():
        raise ReleaseError(f"the section Unreleased of {CHANGELOG} is empty")
    return found[1].strip()


def release_changelog(changelog: str, version: str, day: date) -> str:
    """Returns the changelog with an empty section "Unreleased", and its content under the version."""
    notes = unreleased_notes(changelog)
    return _UNRELEASED.sub(lambda _: f"## [Unreleased]\n\n## [{version}] - {day}\n\n{notes}\n\n", changelog, count=1)


def _check_version(version: str, project: str) -> None:
    current = _VERSION.search(project)
    if current is None:
        raise ReleaseError(f"{PROJECT} has no version")
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        raise ReleaseError(f"'{version}' is no version such as 0.2.0")
    if _numbers(version) <= _numbers(current[1]):
        raise ReleaseError(f"{version} is not newer than {current[1]}")
    if _git("tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} exists")


def _check_repository() -> None:
    branch = _git("branch", "--show-current")
    if branch != BRANCH:
        raise ReleaseError(f"the branch is '{branch}', not {BRANCH}")
    if _git("status", "--porcelain"):
        raise ReleaseError("the working tree has changes that are not committed")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _print_diff(name: str, before: str, after: str) -> None:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="")
    print("\n".join(lines))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
