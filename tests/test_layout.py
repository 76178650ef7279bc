"""The root of service/ is short, and holds only what several packages share. The import contracts hold the rest."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

import service

ROOT = Path(next(iter(service.__path__)))
MAX_ROOT_FILES = 15
# The composition root: it builds everything, and only the command line starts it.
BUILDS_THE_REST = "app"


def _root_modules() -> list[str]:
    return sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "__init__")


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("service", cache_dir=None)


def test_the_root_of_service_is_short() -> None:
    assert len(list(ROOT.glob("*.py"))) <= MAX_ROOT_FILES


@pytest.mark.parametrize("module", [name for name in _root_modules() if name != BUILDS_THE_REST])
def test_a_root_module_has_at_least_two_users(module: str, imports: grimp.ImportGraph) -> None:
    """A module that one package alone uses belongs into that package."""
    importers = imports.find_modules_that_directly_import(f"service.{module}")
    users = {importer.split(".")[1] for importer in importers}
    assert len(users) >= 2, f"only {users} uses service/{module}.py: move it there"
