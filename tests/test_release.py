"""scripts/release in a repository of its own: what it refuses, and the commit and tag that it makes."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = '[project]\nname = "everthread"\nversion = "0.1.0"\n\n[tool.other]\nversion = "9"\n'
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Releases.

## [0.1.0] - 2026-11-25

The first version.
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose branch main has the script, a changelog, and a check that succeeds."""
    (tmp_path / "scripts").mkdir()
    for name in ("release", "release.py"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "config", "user.name", "Tests")
    git(tmp_path, "config", "user.email", "tests@example.com")
    write_check(tmp_path, status=0)
    return tmp_path


def git(repository: Path, *arguments: str) -> str:
    # Neither the settings of this machine's user nor a repository around the tests.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=repository, env=env, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


def write_check(repository: Path, status: int) -> None:
    check = repository / "scripts" / "check"
    check.write_text(f"#!/bin/sh\necho checked\nexit {status}\n")
    check.chmod(0o755)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Start")


def release(repository: Path, *arguments: str) -> tuple[int, str]:
    """Runs the script, and returns (exit code, output)."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        [repository / "scripts" / "release", *arguments],
        cwd=repository,
        env={**env, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_release_is_a_commit_and_an_annotated_tag(repository: Path) -> None:
    code, output = release(repository, "0.2.0")
    assert (code, "checked" in output, "git push --atomic origin main v0.2.0" in output) == (0, True, True)
    assert (repository / "pyproject.toml").read_text() == PROJECT.replace("0.1.0", "0.2.0")
    heading = f"## [Unreleased]\n\n## [0.2.0] - {datetime.now(UTC).date()}\n"
    assert (repository / "CHANGELOG.md").read_text() == CHANGELOG.replace("## [Unreleased]\n", heading)
    assert git(repository, "log", "--format=%s") == "Release 0.2.0\nStart"
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "rev-parse", "v0.2.0^{commit}") == git(repository, "rev-parse", "HEAD")
    tag = git(repository, "tag", "--list", "--format=%(objecttype) %(contents)", "v0.2.0")
    assert tag == "tag Everthread 0.2.0\n\n### Added\n\n- Releases."


def test_a_dry_run_changes_nothing(repository: Path) -> None:
    before = git(repository, "rev-parse", "HEAD")
    code, output = release(repository, "0.2.0", "--dry-run")
    assert (code, "checked" in output) == (0, False)
    assert '+version = "0.2.0"' in output
    assert "+## [0.2.0] - " in output
    assert (git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain")) == (before, "")
    assert git(repository, "tag") == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("0.1.0", "0.1.0 is not newer than 0.1.0"),
        ("0.0.9", "0.0.9 is not newer than 0.1.0"),
        ("v0.2.0", "'v0.2.0' is no version such as 0.2.0"),
        ("0.2", "'0.2' is no version such as 0.2.0"),
    ],
)
def test_a_wrong_version_is_refused(repository: Path, version: str, reason: str) -> None:
    assert release(repository, version) == (1, f"release: {reason}\n")


@pytest.mark.slow
def test_a_repository_that_is_not_ready_is_refused(repository: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "other")
    assert release(repository, "0.2.0") == (1, "release: the branch is 'other', not main\n")
    git(repository, "switch", "--quiet", "main")
    (repository / "new").write_text("")
    assert release(repository, "0.2.0") == (
        1,
        "release: the working tree has changes that are not committed\n",
    )
    (repository / "new").unlink()
    git(repository, "tag", "v0.2.0")
    assert release(repository, "0.2.0") == (1, "release: the tag v0.2.0 exists\n")


def test_an_empty_section_is_refused(repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text(CHANGELOG.replace("### Added\n\n- Releases.\n\n", ""))
    git(repository, "commit", "--quiet", "--all", "--message", "Empty")
    assert release(repository, "0.2.0") == (1, "release: the section Unreleased of CHANGELOG.md is empty\n")


def test_a_failed_check_is_refused(repository: Path) -> None:
    write_check(repository, status=1)
    assert release(repository, "0.2.0") == (1, "checked\nrelease: scripts/check failed\n")
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "tag") == ""
