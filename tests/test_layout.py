"""The root of service/ is short and holds only shared modules. The import contracts in pyproject.toml hold the rest."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

import service

ROOT = Path(next(iter(service.__path__)))
MAX_ROOT_FILES = 15
OURS = ("events", "projections", "service", "sql")
# All that these packages import of ours. A contract can only list what they must not import, and new modules with it.
ALLOWED: dict[str, tuple[str, ...]] = {
    "service.audit.verify_proof": (),
    "service.embedded": ("service.child_process", "service.errors", "service.storage.temp_folders", "sql"),
    "service.wire": ("events", "service.addresses", "service.deltas", "service.partial_json", "service.search.base"),
}


def _root_modules() -> list[str]:
    return sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "__init__")


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*OURS, cache_dir=None)


def test_the_root_of_service_is_short() -> None:
    assert len(list(ROOT.glob("*.py"))) <= MAX_ROOT_FILES


@pytest.mark.parametrize("module", _root_modules())
def test_two_packages_use_a_root_module(module: str, imports: grimp.ImportGraph) -> None:
    """A module that only one package uses belongs into that package."""
    importers = imports.find_modules_that_directly_import(f"service.{module}")
    users = {importer.split(".")[1] for importer in importers} - set(_root_modules())
    assert len(users) >= 2, f"service/{module}.py is used by {users or 'no package'}"


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_nothing_else_of_ours(package: str, imports: grimp.ImportGraph) -> None:
    inside = {package} | imports.find_descendants(package)
    imported = {name for module in inside for name in imports.find_modules_directly_imported_by(module)} - inside
    others = {
        name for name in imported if not f"{name}.".startswith(tuple(f"{prefix}." for prefix in ALLOWED[package]))
    }
    assert not others
