"""Runs the scenarios under each SDK, in an environment of its own, against one running server.

All of them use one process of Everthread over one scripted model server. The model chooses its answer by its own name,
which names the scenario and the SDK, so scenarios do not see each other's answers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tests.client import KEY
from tests.scripted import ScriptedServer
from tests.sdks.conformance.scenarios import SCENARIOS, SDKS, Scenario
from tests.server_process import running

HERE = Path(__file__).parent
VENVS = HERE.parent.parent.parent / ".venvs"
SDK_S = 300.0  # for all scenarios of one SDK, on a busy machine


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a scenario under an SDK. `wrong` holds the differences; `absent` says why the SDK lacks the
    feature.
    """

    sdk: str
    scenario: Scenario
    absent: str | None = None
    wrong: str | None = None

    @property
    def line(self) -> str:
        mark, told = ("–", f"not in this SDK: {self.absent}") if self.absent else ("✓", self.scenario.what)
        if self.wrong:
            mark, told = "✗", f"{told}\n{self.wrong}"
        return f"{mark} {self.sdk:12} {self.scenario.name:24} {told}"


def missing(sdk: str) -> str | None:
    """Returns the reason why this SDK cannot run here, or None if it can."""
    if sdk.startswith("npm-") and shutil.which("node") is None:
        return "there is no node on this machine"
    if not _folder(sdk).exists():
        return f"{_folder(sdk)} is missing: scripts/test makes it"
    return None


def _folder(sdk: str) -> Path:
    kind, _, version = sdk.partition("-")
    return VENVS / (f"openai-{version}" if kind == "pypi" else sdk)


def _command(sdk: str) -> tuple[str, ...]:
    if sdk.startswith("pypi-"):
        return (str(_folder(sdk) / "bin" / "python"), "-W", "ignore", str(HERE / "python" / "main.py"))
    return ("node", str(HERE / "javascript" / "main.mjs"), str(_folder(sdk)))


async def outcomes(sdk: str, base_url: str, model: ScriptedServer) -> list[Outcome]:
    """Returns the result of every scenario under this SDK, in order."""
    present = [scenario for scenario in SCENARIOS if sdk not in scenario.absent]
    for scenario in present:
        model.script(*scenario.model, when=partial(_asks_for, f"{scenario.name}.{sdk}."))
    environment = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY}
    for name in ("OPENAI_API_VERSION", "OPENAI_ORG_ID", "AZURE_OPENAI_ENDPOINT"):
        environment.pop(name, None)
    pipe = asyncio.subprocess.PIPE
    command = (*_command(sdk), sdk, *(scenario.name for scenario in present))
    program = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(program.communicate(), SDK_S)
    finally:
        if program.returncode is None:
            program.kill()
    saw = {line["name"]: line for line in map(orjson.loads, out.splitlines())}
    lost = {"error": f"the program ended before it: {err.decode()}"}
    return list(_judged(sdk, saw, lost))


def _asks_for(name: str, request: dict[str, Any]) -> bool:
    return bool(request["model"] == name)


def _judged(sdk: str, saw: dict[str, Any], lost: Any) -> Iterator[Outcome]:
    for scenario in SCENARIOS:
        if why := scenario.absent.get(sdk):
            yield Outcome(sdk, scenario, absent=why)
            continue
        yield Outcome(sdk, scenario, wrong=_wrong(scenario.expected(sdk), saw.get(scenario.name, lost)))


def _wrong(expected: dict[str, Any], line: dict[str, Any]) -> str | None:
    if "saw" not in line:
        return str(line.get("error", "the program does not know this scenario"))
    found = line["saw"]
    differ = [key for key in {**expected, **found} if key not in expected or found.get(key) != expected[key]]
    told = [f"    {key}: expected {expected.get(key)!r}, saw {found.get(key)!r}" for key in differ]
    return "\n".join(told) or None


async def report(sdk: str, base_url: str, model: ScriptedServer) -> list[Outcome]:
    """Runs the scenarios of this SDK and prints a line for each. Returns those that failed."""
    started = time.monotonic()
    found = await outcomes(sdk, base_url, model)
    print(*(one.line for one in found), sep="\n")
    print(f"  {sdk} took {time.monotonic() - started:.1f} s", flush=True)
    return [one for one in found if one.wrong]


async def main(sdks: Sequence[str], **settings: str) -> int:
    """Runs these SDKs against a server with these settings. Returns the number of scenarios that failed."""
    wrong = 0
    async with running(**settings) as (base_url, model):
        for sdk in sdks:
            if why := missing(sdk):
                print(f"– {sdk:12} skipped: {why}", flush=True)
            else:
                wrong += len(await report(sdk, base_url, model))
    return wrong


if __name__ == "__main__":
    named = sys.argv[1:] or SDKS
    if unknown := set(named) - set(SDKS):
        sys.exit(f"no such SDK: {', '.join(sorted(unknown))}; there are {', '.join(SDKS)}")
    with tempfile.TemporaryDirectory(prefix="everthread-") as home:
        sys.exit(1 if asyncio.run(main(named, EVERTHREAD_DATA_DIR=home + "/data")) else 0)
