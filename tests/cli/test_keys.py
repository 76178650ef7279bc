"""`everthread keys` and `everthread projects` as a person uses them, beside a running server and without one."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from events.actors import actor_text
from service.access.keys import digest_of
from service.cli import admin
from tests.embedded.server_process import FakeServerProcess
from tests.fixtures.postgres import empty_database
from tests.forked import run_command
from tests.machine import clean_environment

NO_MODEL = ["--port", "0", "--model-base-url", "http://127.0.0.1:9/v1"]


def everthread(*arguments: str, **env: str) -> tuple[int, str, str]:
    """Runs the command, and returns (exit code, standard output, standard error)."""
    clean = clean_environment()
    return run_command(arguments, {**clean, **env}, timeout_s=60)


@pytest.mark.slow
async def test_a_new_database_is_migrated(postgres: str) -> None:
    async with empty_database(postgres) as url:
        code, project, _ = everthread("projects", "create", "--name", "First", EVERTHREAD_DATABASE_URL=url)
        assert (code, project[:5]) == (0, "proj_")


@pytest.mark.slow
async def test_keys_and_projects(database_url: str) -> None:
    env = {"EVERTHREAD_DATABASE_URL": database_url}
    code, project, _ = everthread("projects", "create", "--name", "Research", **env)
    assert (code, project[:5]) == (0, "proj_")
    assert everthread("projects", "create", "--name", "Research", **env)[0] == 1
    limits = ["--requests-per-minute", "60", "--tokens-per-minute", "9000", "--max-runs", "3"]
    made = everthread("keys", "create", "--project", "Research", "--name", "[ci]", "--scope", "read", *limits, **env)
    code, key, told = made
    assert (code, len(key)) == (0, 46)
    assert "not shown again" in told
    key_id = told.split()[1].rstrip(".")
    listed = everthread("keys", "list", "--project", project, **env)[1]
    row = listed.splitlines()[-1]
    for part in (key_id, "[ci]", project, "read", key[-4:], "60 requests/min, 9000 tokens/min, 3 runs at once"):
        assert part in row
    assert key not in listed
    assert key_id not in everthread("keys", "list", "--project", "default", **env)[1]
    assert everthread("projects", "list", **env)[1].split()[3:7:2] == ["proj_default", project]
    assert everthread("keys", "revoke", key_id, **env)[2] == f"Revoked {key_id}."
    assert everthread("keys", "revoke", key_id, **env)[2] == f"{key_id} was already revoked."
    db = await asyncpg.connect(database_url)
    events = await db.fetch("SELECT type, actor, project_id, content FROM events_readable ORDER BY at")
    dumped = "".join(str(row) for row in await db.fetch("SELECT api_keys::text FROM api_keys"))
    await db.close()
    account = actor_text(admin.actor())
    assert [tuple(event)[:3] for event in events] == [
        ("project.created", account, project),
        ("key.created", account, project),
        ("key.revoked", account, project),
    ]
    assert digest_of(key).hex() in events[1]["content"]
    assert key not in dumped + str(events)


@pytest.mark.slow
async def test_webhooks(database_url: str) -> None:
    env = {"EVERTHREAD_DATABASE_URL": database_url, "EVERTHREAD_WEBHOOKS_ALLOW_PRIVATE": "true"}
    url = "http://127.0.0.1:9/hook"
    made = everthread("webhooks", "create", "--url", url, "--event", "thread.run.failed", "--description", "Ops", **env)
    code, secret, told = made
    assert (code, secret[:6]) == (0, "whsec_"), told
    endpoint_id = told.split()[2].rstrip(".")
    assert "not shown again" in told
    code, out, told = everthread("webhooks", "test", endpoint_id, **env)
    assert (code, out) == (1, "")
    assert told.startswith(f"everthread: {endpoint_id} cannot be reached: ")
    assert everthread("webhooks", "enable", endpoint_id, **env)[2] == f"Enabled {endpoint_id}."
    code, secret, told = everthread("webhooks", "rotate", endpoint_id, "--keep", "60", **env)
    assert (code, secret[:6], told) == (
        0,
        "whsec_",
        f"Webhook endpoint {endpoint_id}: the old secret stays valid for 60 s.",
    )
    assert secret != made[1]
    listed = everthread("webhooks", "list", **env)[1].splitlines()[-1]
    for part in (endpoint_id, url, "thread.run.failed", "enabled"):
        assert part in listed
    assert secret not in listed
    assert everthread("webhooks", "delete", endpoint_id, **env)[2] == f"Deleted {endpoint_id}."
    assert endpoint_id not in everthread("webhooks", "list", **env)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["keys", "create", "--name", "x", "--project", "Nowhere"], "There is no project 'Nowhere'"),
        (
            ["keys", "create", "--name", "x", "--scope", "all"],
            "--scope: must be one of full, read, audit, audit:content",
        ),
        (["keys", "create", "--name", "a\nb"], "--name: must be 1 to 256 printable characters"),
        (["keys", "revoke", "key_x"], "No key found with id 'key_x'."),
        (["projects", "create", "--name", "default"], "There is a project 'default' already."),
        (["webhooks", "create", "--url", "https://10.0.0.1/"], "Invalid 'url': 10.0.0.1 is at a private address"),
        (
            ["webhooks", "create", "--url", "https://a.b/", "--event", "x"],
            "--event: 'x' is not one of thread.run.created",
        ),
        (["webhooks", "test", "we_x"], "No webhook_endpoint found with id 'we_x'."),
    ],
)
def test_what_is_refused_is_one_line(database_url: str, arguments: list[str], says: str) -> None:
    code, out, told = everthread(*arguments, EVERTHREAD_DATABASE_URL=database_url)
    assert (code, out, len(told.splitlines())) == (1, "", 1)
    assert told.startswith(f"everthread: {says}")


def test_without_a_database_it_says_what_to_do(tmp_path: Path) -> None:
    code, _, told = everthread("keys", "list", "--data-dir", str(tmp_path / "none"))
    assert (code, len(told.splitlines())) == (1, 1)
    assert "start the server once" in told
    assert not (tmp_path / "none").exists()


@pytest.mark.embedded
def test_the_embedded_database_with_and_without_its_server(tmp_path: Path) -> None:
    at = ["--data-dir", str(tmp_path)]
    with FakeServerProcess([*NO_MODEL, *at]) as server:
        server.wait_until_ready()
        code, key, told = everthread("keys", "create", "--name", "beside", *at)
        assert (code, key[:3]) == (0, "et-"), told
        assert server.end() == 0
    code, listed, told = everthread("keys", "list", *at)
    assert (code, "beside" in listed) == (0, True), told
    with FakeServerProcess([*NO_MODEL, *at]) as server:
        server.wait_until_ready()
        assert server.end() == 0
