"""Runs of a thread go to the worker that holds its sandbox session, for a moment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import service.runs.supervisor
from service.workers.shared_memory import SharedMemory, create_memory
from service.workers.shared_sessions import SharedSessions
from tests.runs.fake_model import FakeModel, says
from tests.runs.process import Process

OWNER = """
import sys
from service.workers.shared_memory import SharedMemory
from service.workers.shared_sessions import SharedSessions
SharedSessions(SharedMemory(int(sys.argv[1]))).own(sys.argv[2])
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(descriptor: int, thread_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a process that holds the session of the thread."""
    command = [sys.executable, "-c", OWNER, str(descriptor), thread_id]
    with subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


async def test_a_run_is_left_to_the_worker_with_the_session(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = create_memory()
    sessions = SharedSessions(SharedMemory(descriptor))
    async with Process(database_url, FakeModel(None, *[says("Hello.")] * 3), sessions=sessions) as process:
        with owner(descriptor, "t1") as other:
            for thread in ("t1", "t2"):
                await process.say(thread, "Hi")
            await process.begin("t2")
            assert (await process.wait_until_settled("t2")).status == "completed", "nobody holds this session"
            monkeypatch.setattr(service.runs.supervisor, "SESSION_GRACE_S", 3600.0)
            await process.begin("t1")
            await process.supervisor._scan()
            assert (await process.run("t1", "run_t1")).status == "queued"
            other.kill()
            other.wait()
            assert (await process.wait_until_settled("t1")).status == "completed", "its owner has died"
        with owner(descriptor, "t3"):
            monkeypatch.setattr(service.runs.supervisor, "SESSION_GRACE_S", 0.01)
            await process.say("t3", "Hi")
            await process.begin("t3")
            assert (await process.wait_until_settled("t3")).status == "completed", "its owner was too busy"
    os.close(descriptor)


def test_a_session_has_one_holder() -> None:
    descriptor = create_memory()
    sessions = SharedSessions(SharedMemory(descriptor))
    sessions.own("t1")
    assert (sessions.is_here("t1"), sessions.is_elsewhere("t1")) == (True, False)
    with owner(descriptor, "t1"):
        assert (sessions.is_here("t1"), sessions.is_elsewhere("t1")) == (False, True)
        sessions.disown("t1")
        assert sessions.is_elsewhere("t1"), "only the holder gives it up"
    os.close(descriptor)
