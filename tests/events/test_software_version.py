from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from events.software_version import RELEASE, SHORT_HASH, describe_software, read_commit
from service.database import Pool
from tests.machine import unavailable
from tests.projections.helpers import make_thread, writer

FIRST, SECOND = "1" * 40, "2" * 40


def make_repository(root: Path, head: str = "ref: refs/heads/main") -> Path:
    git = root / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text(head + "\n")
    return git


def test_a_branch_has_a_file_of_its_own(tmp_path: Path) -> None:
    (make_repository(tmp_path) / "refs/heads/main").write_text(FIRST + "\n")
    assert read_commit(tmp_path) == FIRST
    assert describe_software("1.2.3", tmp_path) == f"1.2.3+g{'1' * SHORT_HASH}"


def test_packed_refs_hold_branches_without_a_file(tmp_path: Path) -> None:
    git = make_repository(tmp_path)
    (git / "packed-refs").write_text(
        f"# pack-refs with: peeled fully-peeled sorted \n{SECOND} refs/heads/other\n{FIRST} refs/heads/main\n"
        f"{SECOND} refs/tags/v1\n^{SECOND}\n"
    )
    assert read_commit(tmp_path) == FIRST
    (git / "refs/heads/main").write_text(SECOND)
    assert read_commit(tmp_path) == SECOND, "the file is newer than the packed ref"


@pytest.mark.parametrize("commit", ["3" * 40, "3" * 64])
def test_a_detached_head_is_the_commit(tmp_path: Path, commit: str) -> None:
    make_repository(tmp_path, commit)
    assert read_commit(tmp_path) == commit


@pytest.mark.parametrize("absolute", [True, False])
def test_a_worktree_shares_the_refs_of_its_repository(tmp_path: Path, absolute: bool) -> None:
    git = make_repository(tmp_path / "repository")
    (git / "refs/heads/topic").write_text(FIRST)
    own = git / "worktrees/topic"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/topic\n")
    (own / "commondir").write_text("../..\n")
    tree = tmp_path / "topic"
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {own if absolute else '../repository/.git/worktrees/topic'}\n")
    assert read_commit(tree) == FIRST


@pytest.mark.parametrize(
    "head",
    ["ref: refs/heads/unborn", "ref: refs/heads/main", "nonsense", "", "ref: refs/heads/.invalid"],
    ids=["no commit yet", "a loop", "nonsense", "empty", "reftable"],
)
def test_without_a_readable_commit_the_release_stands_alone(tmp_path: Path, head: str) -> None:
    git = make_repository(tmp_path, head)
    (git / "refs/heads/main").write_text("ref: refs/heads/main")
    assert describe_software("1.2.3", tmp_path) == "1.2.3"


def test_outside_a_checkout_the_release_stands_alone(tmp_path: Path) -> None:
    assert describe_software("1.2.3", tmp_path) == "1.2.3"
    (tmp_path / ".git").write_text("not a pointer")
    assert describe_software("1.2.3", tmp_path) == "1.2.3"
    (tmp_path / ".git").write_text("gitdir: nowhere")
    assert describe_software("1.2.3", tmp_path) == "1.2.3"


def test_git_itself_says_the_same(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        unavailable("git is not installed")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "First")
    assert read_commit(tmp_path) == git("rev-parse", "HEAD")
    git("worktree", "add", "--quiet", "tree")
    git("pack-refs", "--all")
    assert read_commit(tmp_path / "tree") == read_commit(tmp_path) == git("rev-parse", "HEAD")


async def test_events_store_the_software_version(pool: Pool) -> None:
    await make_thread(writer(pool))
    stored = await pool.fetchval("SELECT software_version FROM events WHERE stream_id = 'thread_1'")
    root = Path(__file__).parents[2]
    assert stored == describe_software(RELEASE, root)
