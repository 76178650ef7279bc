"""Times and ids come from the clock and the id source that a program passes in, so that tests can choose them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("events", "projections", "service")

# Calls by which a module would tell the time or make up ids by itself. Measuring durations (time.monotonic,
# time.perf_counter) is not among them, nor are random waits (random.uniform).
TIMES = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns"}
RANDOM_BYTES = {"os.urandom", "uuid.uuid1", "uuid.uuid4", "secrets.token_bytes", "secrets.token_hex"}
RANDOM_VALUES = {"secrets.token_urlsafe", "secrets.randbelow", "secrets.choice", "secrets.randbits"}

# The source itself, and who calls these for something else.
ALLOWED = {
    ("service/system.py", "datetime.now"): "the system's clock",
    ("service/system.py", "os.urandom"): "the system's ids",
    ("service/access/keys.py", "secrets.token_urlsafe"): "an API key",
    ("service/access/signed_tokens.py", "secrets.token_bytes"): "a secret that signs tokens",
    ("service/embedded/data_dir.py", "secrets.token_urlsafe"): "an API key",
    ("service/embedded/model.py", "secrets.token_urlsafe"): "the API key of the embedded model's server",
    ("service/sandbox/install.py", "time.time"): "the age of a folder, compared with the file system's times",
    ("service/sandbox/session.py", "secrets.randbelow"): "a nonce that code in the sandbox cannot guess",
    ("service/secrets/key_ring.py", "os.urandom"): "a nonce",
    ("service/secrets/stream_keys.py", "os.urandom"): "the id of a data key",
    ("service/webhooks/endpoints.py", "secrets.token_bytes"): "an endpoint's secret",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def calls(tree: ast.Module) -> Iterator[str]:
    """Yields the dotted names that a module mentions, names imported from a module with that module's name."""
    origins = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "uuid", "secrets", "os")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Name) and node.id in origins:
            yield origins[node.id]


@pytest.mark.slow
def test_only_the_system_module_tells_the_time_and_makes_ids() -> None:
    found = {
        (path, name) for path, tree in modules() for name in calls(tree) if name in TIMES | RANDOM_BYTES | RANDOM_VALUES
    }
    assert found == ALLOWED.keys()


@pytest.mark.parametrize("text", ["from time import time\ntime()", "import time\ntime.time()"])
def test_both_forms_of_import_are_seen(text: str) -> None:
    assert "time.time" in set(calls(ast.parse(text)))
