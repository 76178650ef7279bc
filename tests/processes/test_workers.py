"""Workers of a ProcessPoolExecutor end with the process that started them."""

from __future__ import annotations

import asyncio
import signal
import sys

import psutil
import pytest

WAIT_S = 30.0
PROGRAM = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from service.child_process import end_with_parent
context = multiprocessing.get_context("{method}")
with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
async def test_a_worker_ends_if_its_parent_is_killed(method: str) -> None:
    program = PROGRAM.format(method=method)
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    worker = psutil.Process(int(await asyncio.wait_for(parent.stdout.readline(), WAIT_S)))
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await asyncio.to_thread(worker.wait, WAIT_S)
    assert not worker.is_running()
