"""Nobody goes around the client that checks answers without saying why.

What goes past `Client.call` and its like is received unchecked. Where that has to be, the file stands here with how
often it does so, and what it receives.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
# Ways to ask a server of ours that check nothing. The client's own files are where the checks are.
CLIENTS, OTHERS = {"session", "_session"}, {"ClientSession", "urlopen", "open_connection"}
CHECKED_WITHIN = {"client.py", "http/files.py"}
DECLARED: dict[str, tuple[int, str]] = {
    "browser/test_event_source.py": (1, "a proxy between a browser and the server"),
    "crash/test_idempotency.py": (1, "a file's bytes"),
    "embedded/fake_server.py": (1, "a model server's answers"),
    "embedded/started.py": (1, "health"),
    "embedded/test_code.py": (1, "metrics"),
    "embedded/test_model.py": (1, "a model server's answers"),
    "http/test_code_interpreter.py": (2, "metrics and health"),
    "http/test_code_troubles.py": (1, "health"),
    "http/test_cors.py": (3, "preflights; headers of a stream, whose frames are checked"),
    "http/test_deletes.py": (1, "a file's bytes"),
    "http/test_file_streaming.py": (2, "a file's bytes; a client that leaves"),
    "http/test_file_uses.py": (2, "shares the session with a checked client of v1"),
    "http/test_filters.py": (1, "Azure's path, checked there"),
    "http/test_idempotency.py": (1, "what passes through"),
    "http/test_key_limits.py": (1, "what passes through"),
    "http/test_keys.py": (2, "headers of a stream, whose frames are checked; what passes through"),
    "http/test_links.py": (3, "files' bytes, by link"),
    "http/test_metrics.py": (2, "metrics"),
    "http/test_openapi.py": (2, "our own document, and its page"),
    "http/test_passthrough.py": (5, "what passes through"),
    "http/test_projects.py": (1, "every operation as text, which must not name another project's ids"),
    "http/test_queue.py": (2, "a stream's comments, whose frames are checked; metrics"),
    "http/test_watch.py": (3, "streams that go on from run to run, checked there; refusals"),
    "model/test_scripted.py": (3, "the scripted model's answers"),
    "sdks/test_azure.py": (1, "Azure's paths"),
    "storage/moto.py": (1, "an object store's answers"),
    "vectors/test_served.py": (1, "health"),
    "webhooks/test_webhooks.py": (1, "metrics"),
    "wire/fuzz.py": (4, "what schemathesis asks, checked there"),
    "wire/test_raw.py": (1, "what is hardly HTTP"),
    "wire/test_semantics.py": (1, "headers of a stream, whose frames are checked"),
}


def ways_in(source: str) -> int:
    """How often: a client's session, or another way's name."""
    nodes = list(ast.walk(ast.parse(source)))
    inside = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    alone = [node.id for node in nodes if isinstance(node, ast.Name)]
    return sum(name in CLIENTS | OTHERS for name in inside) + sum(name in OTHERS for name in alone)


def test_whoever_goes_around_the_client_says_why() -> None:
    found = Counter({str(path.relative_to(TESTS)): ways_in(path.read_text()) for path in TESTS.rglob("*.py")})
    around = {name: count for name, count in found.items() if count and name not in CHECKED_WITHIN}
    assert around == {name: count for name, (count, _) in DECLARED.items()}


def test_the_ways_are_seen() -> None:
    assert ways_in("async with client.session.get(url) as a: pass") == 1
    assert ways_in("async with aiohttp.ClientSession() as session, session.get(url) as a: pass") == 1
    assert ways_in("from service.tools.sandbox.session import LocalSandboxes") == 0
    assert ways_in("await client.call('GET', '/assistants')") == 0
