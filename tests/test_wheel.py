"""A wheel built from this checkout and unpacked elsewhere contains everything it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = (".sql", ".gz", ".jinja", ".tiktoken", ".html", ".css", ".js", ".json", ".svg", ".lock", ".in")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60, capture_output=True)
    return next(folder.glob("everthread-*.whl"))


def test_it_holds_every_file_of_the_packages(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        str(path.relative_to(ROOT))
        for package in ("service", "events", "projections", "sql")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", *DATA)
    }
    assert ours <= inside
    assert any(name.startswith("sql/migrations/") and name.endswith(".sql") for name in inside)
    assert any(name.startswith("sql/queries/") and name.endswith(".sql") for name in inside)
    assert any("LICENSE" in name for name in inside)
    assert not any(name.startswith(("tests/", "scripts/")) for name in inside)


@pytest.mark.slow
def test_the_command_runs_from_it(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import service.app.server, service.cli.main, sys; print(service.cli.__file__);"
        " sys.argv[1:] = ['serve', '--help']; "
    )
    command = [sys.executable, "-P", "-c", code + "service.cli.main.main()"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.startswith(str(tmp_path))
    assert "--data-dir" in told.stdout
