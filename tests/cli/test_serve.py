"""`everthread serve` as a person uses it: real processes, real signals, one clear line if it cannot continue."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.cli.stop_signals import STOP_TIMEOUT_S
from service.embedded.postgres import EmbeddedPostgres
from tests.embedded.server_process import ROOT, FakeServerProcess, fetch
from tests.machine import unavailable

pytestmark = pytest.mark.embedded
NO_MODEL = ["--port", "0", "--model-base-url", "http://127.0.0.1:9/v1"]
ORDINARY = 65534


def gone(processes: list[psutil.Process], within_s: float = 60) -> bool:
    return not psutil.wait_procs(processes, timeout=within_s)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_and_second_start(tmp_path: Path, number: int) -> None:
    data = tmp_path / "data"
    keys = set()
    for starts in (1, 2):
        with FakeServerProcess(["--port", "0", "--data-dir", str(data)]) as server:
            base_url = server.wait_until_ready()
            assert ("Creating the database" in server.output) == (starts == 1)
            told = fetch(base_url)
            assert (told["starts"], told["embedded_model"], told["data_dir"]) == (starts, True, str(data))
            assert fetch(base_url, "ask")["choices"][0]["message"]["content"]
            key = (data / "api_key").read_text().strip()
            assert f"API key   in the file {data}/api_key\n" in server.output
            assert key not in server.output, "output that is no terminal may be kept in a log"
            found = re.search(r"^export OPENAI_API_KEY=.*$", server.output, re.MULTILINE)
            assert found
            shown = subprocess.run(["sh", "-c", f"{found[0]}; echo $OPENAI_API_KEY"], capture_output=True, text=True)
            assert shown.stdout.strip() == key
            keys.add(key)
            assert f"export OPENAI_BASE_URL={base_url}" in server.output
            children = server.children()
            assert {child.name() for child in children} >= {"postgres"}
            assert len([child for child in children if "model_process" in " ".join(child.cmdline())]) == 1
            assert server.end(number) == 0
            assert gone(children), "Postgres and the model stop with the server"
            assert "Traceback" not in server.output
    assert len(keys) == 1
    assert "shut down" in (data / "postgres" / "postgres.log").read_text()


def test_the_first_start_shows_the_key_on_a_terminal(tmp_path: Path) -> None:
    arguments = [*NO_MODEL, "--data-dir", str(tmp_path)]
    first, second = output_on_a_terminal(arguments), output_on_a_terminal(arguments)
    key = (tmp_path / "api_key").read_text().strip()
    assert f"API key   {key}" in first
    assert f"export OPENAI_API_KEY={key}" in first
    assert key not in second
    assert f"API key   in the file {tmp_path}/api_key" in second
    given = output_on_a_terminal(arguments, EVERTHREAD_API_KEY="et-of-the-settings")
    assert "et-of-the-settings" not in given
    assert 'export OPENAI_API_KEY="$EVERTHREAD_API_KEY"' in given


def output_on_a_terminal(arguments: list[str], **env: str) -> str:
    """Returns all output of a server that is ended as soon as it is ready."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "tests.embedded.fake_server", "serve", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdout=its, stderr=its) as server:
        os.close(its)
        output = ""
        try:
            while piece := os.read(ours, 65536).decode():
                output += piece
                if "Ctrl-C" in piece:
                    server.terminate()
        except OSError:  # the server has ended
            pass
        finally:
            server.kill()
            os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)


def test_what_is_set_up_in_the_background_is_said(tmp_path: Path) -> None:
    for wanted in ("true", "false"):
        env = {"EVERTHREAD_SANDBOX_DIR": str(tmp_path / "none"), "EVERTHREAD_SANDBOX_INSTALL": wanted}
        with FakeServerProcess([*NO_MODEL, "--data-dir", str(tmp_path)], env) as server:
            server.wait_until_ready()
            assert ("code_interpreter is being set up in the background" in server.output) == (wanted == "true")


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with FakeServerProcess(["--port", port, "--data-dir", str(tmp_path)]) as server:
            assert server.wait_for_exit() == 1
    assert server.output.splitlines() == [
        f"everthread: 127.0.0.1:{port} is in use by another program: choose another port with --port"
    ]
    assert not (tmp_path / "postgres").exists(), "found out before anything was started"


def test_a_data_directory_in_use_is_one_line_and_kill_9_frees_it(tmp_path: Path) -> None:
    arguments = [*NO_MODEL, "--data-dir", str(tmp_path)]
    with FakeServerProcess(arguments) as first:
        base_url = first.wait_until_ready()
        assert fetch(base_url)["starts"] == 1
        with FakeServerProcess(arguments) as second:
            assert second.wait_for_exit() == 1
        line = f"everthread: The data directory {tmp_path} is in use by the server at {base_url}"
        assert second.output.splitlines() == [line]
        children = first.children()
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
        with FakeServerProcess(arguments) as third:
            assert fetch(third.wait_until_ready())["starts"] == 2
            assert gone(children)
            assert third.end() == 0


async def test_servers_over_a_database_elsewhere_share_a_data_directory(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "elsewhere")
    env = {"EVERTHREAD_DATABASE_URL": await postgres.start()}
    arguments = [*NO_MODEL, "--data-dir", str(tmp_path / "data")]
    with FakeServerProcess(arguments, env) as first, FakeServerProcess(arguments, env) as second:
        assert fetch(first.wait_until_ready())["starts"] == 1
        assert fetch(second.wait_until_ready())["starts"] == 2
        assert first.children() == second.children() == []
        assert first.end() == second.end() == 0
    await postgres.stop()


def test_postgres_is_started_again_and_requests_are_told_to_wait(tmp_path: Path) -> None:
    arguments = [*NO_MODEL, "--data-dir", str(tmp_path)]
    env = {"EVERTHREAD_API_KEY": "k", "EVERTHREAD_LOG_LEVEL": "error"}  # a pipe full of warnings would block it
    with FakeServerProcess(arguments, env, module="service.cli") as server:
        base_url = server.wait_until_ready()
        lock = tmp_path / "postgres" / "18" / "postmaster.pid"
        os.kill(int(lock.read_text().splitlines()[0]), signal.SIGKILL)
        refused = answered = 0
        while not (refused and answered):
            status, retry_after = _create_thread(base_url)
            assert (status, retry_after) in ((200, None), (503, "1")), (status, retry_after)
            refused, answered = refused + (status == 503), answered + (status == 200 and refused)
        assert server.end() == 0
        assert "postgres_ended" in server.output


def _create_thread(base_url: str) -> tuple[int, str | None]:
    """Returns the status, and the header Retry-After."""
    headers = {"Authorization": "Bearer k", "OpenAI-Beta": "assistants=v2", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{base_url}/threads", b"{}", headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Retry-After"]


async def test_a_start_waits_for_its_database(tmp_path: Path) -> None:
    """Both may be started at once, as by a compose file."""
    postgres = EmbeddedPostgres(tmp_path / "elsewhere", durable=False)
    env = {"EVERTHREAD_DATABASE_URL": await postgres.start()}
    await postgres.stop()
    arguments = [*NO_MODEL, "--data-dir", str(tmp_path / "data")]
    with FakeServerProcess(arguments, env, module="service.cli") as server:
        while "database_awaited" not in server.output:
            server.read()
        await postgres.start()
        server.wait_until_ready()
        assert await asyncio.to_thread(server.end) == 0
    await postgres.stop()
    with FakeServerProcess(arguments, {**env, "EVERTHREAD_DATABASE_WAIT_S": "0"}, module="service.cli") as server:
        assert server.wait_for_exit() == 1
    assert server.output.splitlines()[-1].startswith("everthread: The database cannot be reached: ")


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_server_stops_while_postgres_hangs(tmp_path: Path, signals: int) -> None:
    """A second signal ends it at once."""
    postgres = EmbeddedPostgres(tmp_path / "elsewhere", durable=False)
    env = {"EVERTHREAD_DATABASE_URL": await postgres.start()}
    arguments = [*NO_MODEL, "--data-dir", str(tmp_path / "data")]
    [lock] = (tmp_path / "elsewhere" / "postgres").glob("*/postmaster.pid")
    main = psutil.Process(int(lock.read_text().splitlines()[0]))
    with FakeServerProcess(arguments, env, module="service.cli") as server:
        base_url = server.wait_until_ready()
        frozen = [main, *main.children(recursive=True)]
        for process in frozen:
            process.suspend()
        try:
            while "does not answer" not in (await asyncio.to_thread(_health, base_url))["database"]:
                pass
            began = time.monotonic()
            if signals == 2:
                server.process.send_signal(signal.SIGTERM)
                while "Stopping" not in server.output:
                    server.read()
            status = await asyncio.to_thread(server.end)
            assert status == (0 if signals == 1 else -signal.SIGTERM)
            assert time.monotonic() - began < STOP_TIMEOUT_S
        finally:
            for process in frozen:
                process.resume()
    await postgres.stop()


def _health(base_url: str) -> dict[str, str]:
    try:
        return fetch(base_url.removesuffix("/v1"), "healthz")
    except urllib.error.HTTPError as error:
        return json.load(error)  # type: ignore[no-any-return]


def test_stopping_while_starting(tmp_path: Path) -> None:
    with FakeServerProcess(["--port", "0", "--data-dir", str(tmp_path)]) as server:
        while not (tmp_path / "postgres").exists():
            time.sleep(0.01)
        assert server.end() == 0
        assert "Traceback" not in server.output
        assert "ready" not in server.output
    with FakeServerProcess([*NO_MODEL, "--data-dir", str(tmp_path)]) as server:
        assert fetch(server.wait_until_ready())["starts"] == 1
        assert server.end() == 0


@pytest.mark.parametrize(
    ("arguments", "env", "says"),
    [
        (["--port", "70000"], {}, "--port: Input should be less than or equal to 65535"),
        ([], {"EVERTHREAD_BETA": "loose"}, "EVERTHREAD_BETA: Input should be 'strict' or 'lenient'"),
    ],
)
def test_a_wrong_setting_is_one_line(arguments: list[str], env: dict[str, str], says: str) -> None:
    with FakeServerProcess(arguments, env) as server:
        assert server.wait_for_exit() == 1
    assert server.output.splitlines() == [f"everthread: {says}"]


@pytest.fixture
def ordinary_home() -> Iterator[Path]:
    """Returns a home folder that an ordinary user can reach; pytest's own folders cannot be reached."""
    with tempfile.TemporaryDirectory(prefix="everthread-home-") as folder:
        os.chown(folder, ORDINARY, ORDINARY)
        yield Path(folder)


def test_an_ordinary_user(ordinary_home: Path) -> None:
    if os.geteuid() != 0:
        unavailable("only root can start a server as another user")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    env = {"HOME": str(ordinary_home), "XDG_DATA_HOME": "", "PYTHONPATH": f"{ROOT}:{packages}"}
    python = _python_of_everybody(env)
    with FakeServerProcess(NO_MODEL, env, python, ORDINARY) as server:
        assert fetch(server.wait_until_ready())["starts"] == 1
        assert {child.uids().real for child in server.children()} == {ORDINARY}
        assert server.end() == 0
    data = ordinary_home / ".local" / "share" / "everthread"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE(ordinary_home.stat().st_mode) == 0o700


def _python_of_everybody(env: dict[str, str]) -> str:
    """Returns a Python of this version that an ordinary user may run with the project's packages, which may lie in
    root's home.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        command = [python, "-c", "import aiohttp, asyncpg, uvloop, service.cli"]
        try:
            tried = subprocess.run(
                command, env=env, user=ORDINARY, group=ORDINARY, extra_groups=[], cwd="/", timeout=30, check=False
            )
        except OSError:
            continue
        if tried.returncode == 0:
            return python
    return unavailable("there is no Python here that an ordinary user may run with these packages")
