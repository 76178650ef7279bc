"""The data directory: its permissions, its lock and its API key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from service.embedded.data_dir import DataDir
from service.errors import StartupError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_is_private(tmp_path: Path) -> None:
    held = DataDir.acquire(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700
    held.release()


@pytest.mark.parametrize("permissions", [0o700, 0o750, 0o755])
def test_an_existing_directory_keeps_its_permissions(tmp_path: Path, permissions: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(permissions)
    DataDir.acquire(folder).release()
    assert mode(folder) == permissions


def test_a_second_server_is_refused_with_the_name_of_the_holder(tmp_path: Path) -> None:
    held = DataDir.acquire(tmp_path)
    held.announce("the server at http://here/v1")
    with pytest.raises(StartupError, match=r"in use by the server at http://here/v1"):
        DataDir.acquire(tmp_path)
    with pytest.raises(StartupError):
        DataDir.acquire(tmp_path, shared=True)
    held.release()
    DataDir.acquire(tmp_path).release()


def test_servers_with_a_database_elsewhere_share_a_directory(tmp_path: Path) -> None:
    one, other = DataDir.acquire(tmp_path, shared=True), DataDir.acquire(tmp_path, shared=True)
    assert one.api_key().key == other.api_key().key
    one.release()
    other.release()


def test_the_key_is_created_once_and_private(tmp_path: Path) -> None:
    held = DataDir.acquire(tmp_path)
    stored = held.api_key()
    key, is_new = stored.key, stored.is_new
    assert (stored.file, is_new) == (tmp_path / "api_key", True)
    assert len(key) > 30
    assert mode(tmp_path / "api_key") == 0o600
    again = held.api_key()
    assert (again.key, again.is_new) == (key, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["api_key", "lock"]
    held.release()


def test_an_emptied_key_file_gets_a_new_key(tmp_path: Path) -> None:
    held = DataDir.acquire(tmp_path)
    (tmp_path / "api_key").write_text("\n")
    assert held.api_key().key == held.api_key().key != ""
    held.release()


def test_an_impossible_path_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"^Cannot use the data directory .*file/data"):
        DataDir.acquire(tmp_path / "file" / "data")
