"""Every test that bypasses the client's check of answers is listed here with its reason.

Answers that do not pass through `Client.call` and its variants are not checked.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Names of functions that send requests without a check. The files of the client are exempt, since they hold the checks.
CLIENTS, OTHERS = {"session", "_session"}, {"ClientSession", "urlopen", "open_connection"}
CHECKED_WITHIN = {"tests/client.py", "tests/http/files.py"}
DECLARED: dict[str, str] = {
    "tests/browser/test_event_source.py": "a proxy between a browser and the server",
    "tests/cli/test_serve.py": "health, and answers while Postgres is away",
    "tests/console/browser_requests.py": "requests with a cookie, as a browser sends them",
    "tests/crash/test_frozen_sequencer.py": "health",
    "tests/crash/test_idempotency.py": "a file's bytes",
    "tests/embedded/fake_server.py": "a model server's answers",
    "tests/embedded/server_process.py": "health",
    "tests/embedded/test_code.py": "metrics",
    "tests/embedded/test_model.py": "a model server's answers",
    "tests/replay/test_generations.py": "health",
    "tests/secrets/test_encryption.py": "a file by its link",
    "tests/imports/test_azure_pull.py": "a proxy between Azure's client and the server",
    "tests/http/test_audit_checks.py": "a stream of the progress of a verification",
    "tests/http/test_audit_feed.py": "a stream of audit events",
    "tests/http/test_audit_log.py": "health",
    "tests/http/test_audit_proofs.py": "proofs, which the shipped file verifies",
    "tests/http/test_audit_tiles.py": "the log's checkpoint, tiles and entries, checked there",
    "tests/http/test_byte_ranges.py": "parts of files",
    "tests/http/test_changed_files.py": "parts of files, and downloads that end too early",
    "tests/http/test_code_interpreter.py": "metrics and health",
    "tests/http/test_code_troubles.py": "health",
    "tests/http/test_connections.py": "connections that send no request, or a part of one",
    "tests/http/test_cors.py": "preflights; headers of a stream, whose frames are checked",
    "tests/http/test_deletes.py": "a file's bytes",
    "tests/http/test_disk_space.py": "health",
    "tests/http/test_file_streaming.py": "a file's bytes; a client that leaves",
    "tests/http/test_file_uses.py": "shares the session with a checked client of v1",
    "tests/http/test_filters.py": "Azure's path, checked there",
    "tests/http/test_hidden_addresses.py": "health",
    "tests/http/test_idempotency.py": "what passes through",
    "tests/http/test_keys.py": "headers of a stream, whose frames are checked; what passes through",
    "tests/http/test_links.py": "files' bytes, by link",
    "tests/http/test_metrics.py": "metrics",
    "tests/http/test_organization_audit.py": "the SDK; a stream of audit events",
    "tests/http/test_openapi.py": "our own document, and its page",
    "tests/http/test_passthrough.py": "what passes through",
    "tests/http/test_projects.py": "every operation as text, which must not name another project's ids",
    "tests/http/test_queueing.py": "a stream's comments, whose frames are checked; metrics",
    "tests/http/test_rate_limits.py": "what passes through",
    "tests/http/test_run_checks.py": "health",
    "tests/http/test_shutdown.py": "streams and connections that end with the server",
    "tests/http/test_thread_stream.py": "streams that go on from run to run, checked there; refusals",
    "tests/http/test_transcripts.py": "transcripts as Markdown",
    "tests/http/test_unsupported_files.py": "the session is shared with a checked client of v1",
    "tests/model/test_scripted.py": "the scripted model's answers",
    "tests/sdks/test_azure.py": "Azure's paths",
    "tests/sdks/test_azure_agents.py": "a server with TLS, as a program of Azure uses it",
    "tests/search/test_vector_store_api.py": "health",
    "tests/soak/api.py": "requests that are repeated until a broken server answers",
    "tests/soak/killer.py": "a turn that shows whether a broken server has recovered",
    "tests/soak/proxy.py": "a proxy that cuts connections",
    "tests/soak/soak.py": "shares the sessions of the two above",
    "tests/sql/sample_data.py": "all answers of a server, to compare them after an upgrade",
    "tests/sql/test_upgrade.py": "the OpenAPI document",
    "tests/stalls/probes.py": "the largest bodies",
    "tests/storage/moto.py": "an object store's answers",
    "tests/webhooks/test_failures.py": "metrics",
    "tests/workers/conftest.py": "health",
    "tests/workers/test_workers.py": "health, on connections that may break",
    "tests/wire/fuzz.py": "what schemathesis asks, checked there",
    "tests/wire/test_raw.py": "what is hardly HTTP",
    "tests/wire/test_semantics.py": "headers of a stream, whose frames are checked",
}


def unchecked_requests(source: str) -> int:
    """Returns the number of uses of a client's session or of another function without a check."""
    nodes = list(ast.walk(ast.parse(source)))
    inside = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    alone = [node.id for node in nodes if isinstance(node, ast.Name)]
    return sum(name in CLIENTS | OTHERS for name in inside) + sum(name in OTHERS for name in alone)


@pytest.mark.slow
def test_whoever_goes_around_the_client_says_why() -> None:
    around = {
        str(path.relative_to(TESTS.parent)) for path in TESTS.rglob("*.py") if unchecked_requests(path.read_text())
    }
    assert around - CHECKED_WITHIN == DECLARED.keys()


def test_the_ways_are_seen() -> None:
    assert unchecked_requests("async with client.session.get(url) as a: pass") == 1
    assert unchecked_requests("async with aiohttp.ClientSession() as session, session.get(url) as a: pass") == 1
    assert unchecked_requests("from service.sandbox.session import LocalSandboxSource") == 0
    assert unchecked_requests("await client.call('GET', '/assistants')") == 0
