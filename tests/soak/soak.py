"""One soak: a server under load that is broken for some minutes, and then the comparison with the ledger."""

from __future__ import annotations

import asyncio
import random
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from openai import AsyncOpenAI

from service.tasks.background import background
from tests.client import KEY
from tests.soak.api import Api
from tests.soak.checks import Verdict, compare_ledger, wait_until_settled
from tests.soak.clients import FileKeeper, RawTalker, SdkTalker, SoakClient, StreamReader
from tests.soak.hostile_model import HostileModel
from tests.soak.installation import Installation, SmallDisk
from tests.soak.killer import Killer
from tests.soak.ledger import Ledger
from tests.soak.proxy import CuttingProxy
from tests.soak.report import SoakReport, read_log

RUN_EXPIRES_S = 240
SDK_RETRIES = 30
SDK_TIMEOUT_S = 15.0
STOP_CLIENTS_S = 200.0


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """The size of a soak: it goes on for the `minutes`, and then until there were so many `kills` of processes.

    Logs stay in `home`; None takes a temporary folder.
    """

    minutes: float
    seed: int
    kills: int = 0
    workers: int = 2
    clients: int = 10
    has_code: bool = False
    disk_mib: int = 3072
    home: Path | None = None


async def soak(plan: SoakPlan) -> SoakReport:
    """Runs a soak, and returns its report."""
    async with AsyncExitStack() as stack:
        home = plan.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="everthread-soak-")))
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o711)
        source = random.Random(plan.seed)
        disk = SmallDisk(home / "disk", plan.disk_mib)
        stack.callback(disk.unmount)
        model = HostileModel(source.getrandbits(32))
        await model.listen()
        stack.push_async_callback(model.stop_listening)
        installation = Installation(
            disk,
            home / "server.log",
            workers=plan.workers,
            model_url=model.base_url,
            settings={
                "CODE_INTERPRETER": "on" if plan.has_code else "off",
                "CODE_WARM": "0",
                "RUN_EXPIRES_S": str(RUN_EXPIRES_S),
                "VERIFY_RUNS": "20",
            },
        )
        proxy = CuttingProxy(installation.port)
        await proxy.start()
        stack.push_async_callback(proxy.close)
        ledger, verdict = Ledger(), Verdict()
        killer = Killer(installation, disk=disk, model=model, proxy=proxy, source=random.Random(source.getrandbits(32)))
        await stack.enter_async_context(background(installation.keep_running()))
        stack.push_async_callback(installation.stop)
        await _load(plan, killer, ledger, proxy=proxy, source=source)
        model.become_calm()
        checking = aiohttp.ClientSession()
        stack.push_async_callback(checking.close)
        if killer.report.problems:
            verdict.stuck += killer.report.problems
        await wait_until_settled(installation, verdict)
        api = Api(checking, installation.base_url, Ledger(), source)
        await compare_ledger(api, ledger, model, verdict)
        for name, arguments in (
            ("verify", ["verify"]),
            ("rebuild --check", ["rebuild", "--check", "--max-load", "100"]),
        ):
            code, out = await installation.command(*arguments)
            if code != 0:
                verdict.wrong.append(f"everthread {name} ended with {code}: {out[-3000:]}")
        return SoakReport(
            plan=plan,
            kills=killer.report,
            ledger=ledger,
            model=model.record,
            verdict=verdict,
            starts=installation.starts,
            log=read_log(home / "server.log"),
        )


async def _load(plan: SoakPlan, killer: Killer, ledger: Ledger, *, proxy: CuttingProxy, source: random.Random) -> None:
    """Runs the clients while the killer is at work, and waits for their last acts."""
    origin = f"http://127.0.0.1:{proxy.port}"
    connector = aiohttp.TCPConnector(limit=0)
    stopped = asyncio.Event()
    async with (
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session,
        AsyncOpenAI(base_url=f"{origin}/v1", api_key=KEY, max_retries=SDK_RETRIES, timeout=SDK_TIMEOUT_S) as sdk,
    ):
        clients = [_client(number, plan, session, origin, ledger, sdk, source) for number in range(plan.clients)]
        await killer.wait_until_recovered()
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.run(stopped))
            await killer.run(60 * plan.minutes, plan.kills)
            stopped.set()


def _client(
    number: int,
    plan: SoakPlan,
    session: aiohttp.ClientSession,
    origin: str,
    ledger: Ledger,
    sdk: AsyncOpenAI,
    source: random.Random,
) -> SoakClient:
    """Returns a client; the kinds take turns."""
    own = random.Random(source.getrandbits(32))
    given = (f"c{number}", Api(session, origin, ledger, own), ledger, own)
    match number % 5:
        case 0:
            return StreamReader(*given)
        case 1:
            return SdkTalker(*given, sdk=sdk)
        case 2:
            return RawTalker(*given, order="function")
        case 3:
            return FileKeeper(*given) if number < 5 else RawTalker(*given, order="code" if plan.has_code else "plain")
        case _:
            return RawTalker(*given)
