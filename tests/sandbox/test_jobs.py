"""A module of ours over hostile bytes: the answer, and every way not to give one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.sandbox.base import MIB, SandboxUnavailable
from service.sandbox.bubblewrap import Jail
from service.sandbox.job import JOB_LIMITS, Job, JobFailed, Jobs
from service.sandbox.probe import SandboxProbe

# What a busy machine may take; a test that meets it has failed.
PATIENT = replace(JOB_LIMITS, wall_s=120.0)


def script(text: str, **beside: str) -> Job:
    return Job("main.py", {"main.py": text, **{f"{name}.py": code for name, code in beside.items()}})


class Unconfined(SandboxProbe):
    """A machine that forbids namespaces."""

    async def jail(self) -> Jail:
        raise SandboxUnavailable("namespaces are forbidden here")


@pytest.fixture(params=["confined", "plain"])
def jobs(request: pytest.FixtureRequest, jail: Jail) -> Jobs:
    return Jobs(SandboxProbe() if request.param == "confined" else Unconfined())


async def test_bytes_in_bytes_out_with_modules_beside_it(jobs: Jobs) -> None:
    job = script(
        "import sys, helper; data = sys.stdin.buffer.read(); print(helper.said(len(data)), sys.argv[1])",
        helper="def said(n): return f'{n} bytes as'",
    )
    data = bytes(range(256)) * 20_000
    assert await jobs.run(job, data, arguments=("pdf",), limits=PATIENT) == b"5120000 bytes as pdf\n"


async def test_a_job_need_not_read_what_it_is_given(jobs: Jobs) -> None:
    assert await jobs.run(script("print('no thanks')"), b"x" * 5 * MIB, limits=PATIENT) == b"no thanks\n"


async def test_the_parsers_are_there(jobs: Jobs) -> None:
    modules = "pypdfium2, docx, pptx, openpyxl, selectolax.lexbor, charset_normalizer"
    assert await jobs.run(script(f"import {modules}\nprint('all')"), b"", limits=PATIENT) == b"all\n"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("while True: pass", "too_slow"),
        ("import time; time.sleep(100)", "too_slow"),
        ("x = bytearray(2 << 30)", "out_of_memory"),
        ("while True: print('x' * 1000)", "too_much_output"),
        ("import os; os.abort()", "crashed"),
        ("raise ValueError('no such font')", "crashed"),
    ],
)
async def test_a_job_that_gives_no_answer_says_why(jobs: Jobs, code: str, why: str) -> None:
    limits = replace(PATIENT, wall_s=1.0) if why == "too_slow" else PATIENT
    with pytest.raises(JobFailed) as failed:
        await jobs.run(script(code), b"", limits=limits, at_most=1_000_000)
    assert failed.value.why == why
    if "ValueError" in code:
        assert "no such font" in str(failed.value)


async def test_a_job_starts_no_more_processes_than_it_may(jobs: Jobs) -> None:
    code = "import os, time\nfor n in range(100):\n  if not os.fork(): time.sleep(60); os._exit(0)"
    with pytest.raises(JobFailed) as failed:
        await jobs.run(script(code), b"", limits=replace(PATIENT, wall_s=3.0))
    assert failed.value.why in ("crashed", "too_slow")  # the copies hold its pipes open
    assert "BlockingIOError" in str(failed.value) or failed.value.why == "too_slow"


async def test_no_group_of_processes_is_left(jail: Jail, confinement: SandboxProbe) -> None:
    before = jail.cgroups.current()
    with pytest.raises(JobFailed):
        await Jobs(confinement).run(script("while True: pass"), b"", limits=replace(PATIENT, wall_s=0.5))
    assert jail.cgroups.current() == before


async def test_only_the_confined_job_sees_no_file_of_the_hosts(jail: Jail) -> None:
    job = script("import os; print(os.path.exists('/etc/hostname'), os.path.exists('/var'), os.getuid())")
    assert await Jobs(SandboxProbe()).run(job, b"", limits=PATIENT) == b"False False 1000\n"
    said = (await Jobs(Unconfined()).run(job, b"", limits=PATIENT)).split()
    assert said[2] != b"0"
