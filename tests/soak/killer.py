"""The killer of a soak: it draws faults, carries them out, and measures how long the server takes to recover."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

import aiohttp
import asyncpg
import orjson
import psutil
import structlog

from tests.client import KEY, TERMINAL, V2
from tests.soak.hostile_model import HostileModel
from tests.soak.installation import Installation, SmallDisk
from tests.soak.proxy import CuttingProxy

log = structlog.get_logger()
# The weights of the faults. Those of KILLS end processes by SIGKILL.
WEIGHTS = {
    "kill Postgres backends": 46,
    "kill a worker": 6,
    "kill helpers": 20,
    "kill the postmaster": 4,
    "kill all of Postgres": 3,
    "kill all workers": 0.7,
    "kill the parent": 0.5,
    "kill the whole tree": 0.6,
    "freeze a worker": 1.5,
    "freeze the parent": 0.5,
    "freeze Postgres": 3,
    "cut connections of clients": 5,
    "cut connections to Postgres": 4,
    "model gone": 3,
    "disk full": 3,
    "restart workers": 1,
    "stop in order": 1,
}
KILLS = frozenset(name for name in WEIGHTS if name.startswith("kill"))
# These last, so that each is the only fault of its round.
LASTING = frozenset({"model gone", "disk full", "freeze Postgres", "stop in order", "restart workers"})
# Faults in one round, and the seconds between them and after a recovery.
BURSTS = (1, 2, 5, 10, 20, 40)
# Processes of Postgres, and helpers, that are killed at once.
BACKENDS = (1, 1, 2, 3, 5)
HELPERS = (1, 1, 2)
BETWEEN_S = (0.0, 0.3)
CALM_S = (0.2, 1.0)
FREEZE_S = (0.5, 4.0)
GONE_S = (1.0, 5.0)
FULL_S = (2.0, 6.0)
# While the server recovers, there may be no process to kill for so long.
WAIT_FOR_PREY_S = 1.0
PROBE_TRY_S = 5.0
PROBE_PAUSE_S = 0.05
# A server that does not recover within this time is lost.
MAX_RECOVERY_S = 90.0


@dataclass(slots=True)
class KillReport:
    """The faults by name, the processes that were killed (`kills`), and the times to recover in seconds by fault."""

    faults: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Killer:
    """Breaks the installation, the network and the model."""

    def __init__(
        self,
        installation: Installation,
        *,
        disk: SmallDisk,
        model: HostileModel,
        proxy: CuttingProxy,
        source: random.Random,
    ) -> None:
        self.report = KillReport()
        self._installation = installation
        self._disk = disk
        self._model = model
        self._proxy = proxy
        self._random = source
        self._later: list[Callable[[], Awaitable[None]]] = []
        self._assistant: str | None = None
        self._acts: dict[str, Callable[[], Awaitable[int]]] = {
            "kill a worker": lambda: self._kill(self._some(installation.workers(), 1)),
            "kill all workers": lambda: self._kill(installation.workers()),
            "kill Postgres backends": lambda: self._kill(
                self._some(installation.backends(), self._random.choice(BACKENDS))
            ),
            "kill helpers": lambda: self._kill(self._some(installation.helpers(), self._random.choice(HELPERS))),
            "kill the postmaster": lambda: self._kill(self._one(installation.postmaster())),
            "kill all of Postgres": lambda: self._kill(
                [*self._one(installation.postmaster()), *installation.backends()]
            ),
            "kill the parent": lambda: self._kill(self._one(installation.parent())),
            "kill the whole tree": lambda: self._kill(installation.processes()),
            "freeze a worker": lambda: self._freeze(self._some(installation.workers(), 1)),
            "freeze the parent": lambda: self._freeze(self._one(installation.parent())),
            "freeze Postgres": lambda: self._freeze([*self._one(installation.postmaster()), *installation.backends()]),
            "cut connections of clients": self._cut_clients,
            "cut connections to Postgres": self._cut_database,
            "model gone": self._remove_model,
            "disk full": self._fill_disk,
            "restart workers": lambda: self._signal(self._one(installation.parent()), signal.SIGHUP),
            "stop in order": lambda: self._signal(self._one(installation.parent()), signal.SIGTERM),
        }

    async def run(self, seconds: float, kills: int) -> None:
        """Goes on for this time, and then until so many processes were killed."""
        ends_at = monotonic() + seconds
        while monotonic() < ends_at or (self.report.kills < kills and not self.report.problems):
            began = []
            for name in self._draw_round():
                if (at := await self._break_something(name)) is not None:
                    began.append((name, at))
            await self._heal()
            await self._measure(began)
            await asyncio.sleep(self._random.uniform(*CALM_S))

    async def wait_until_recovered(self) -> bool:
        """Waits until a whole turn succeeds. Returns False if that takes too long."""
        connector = aiohttp.TCPConnector(force_close=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_RECOVERY_S), aiohttp.ClientSession(connector=connector) as session:
                while not await self._probe(session):
                    await asyncio.sleep(PROBE_PAUSE_S)
                return True
        return False

    def _draw_round(self) -> list[str]:
        """Returns the faults of a round."""
        names = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=self._random.choice(BURSTS))
        alone = [name for name in names[:1] if name in LASTING]
        return alone or [name for name in names if name not in LASTING]

    async def _break_something(self, name: str) -> float | None:
        """Carries out a fault. Returns its time, or None if there was nothing to break."""
        if name == "disk full" and not self._disk.is_bounded:
            return None
        until = monotonic() + WAIT_FOR_PREY_S
        while (broken := await self._acts[name]()) == 0 and monotonic() < until:
            await asyncio.sleep(PROBE_PAUSE_S)
        if broken == 0:
            return None
        at = monotonic()
        self.report.faults[name] += 1
        log.info("fault", name=name, broken=broken)
        if name in KILLS:
            self.report.kills += broken
        await asyncio.sleep(self._random.uniform(*BETWEEN_S))
        return at

    async def _heal(self) -> None:
        """Ends the faults that last."""
        for heal in reversed(self._later):
            await heal()
        self._later.clear()

    async def _measure(self, began: Sequence[tuple[str, float]]) -> None:
        healed = monotonic()
        if await self.wait_until_recovered():
            now = monotonic()
            log.info("recovered", seconds=round(now - healed, 2))
            # A fault that lasts is over when it is healed.
            self.report.recoveries += [(name, now - (at if name in KILLS else healed)) for name, at in began]
        else:
            names = ", ".join(name for name, _ in began)
            log.error("not_recovered", faults=names)
            self.report.problems.append(f"the server did not recover in {MAX_RECOVERY_S:.0f} s from: {names}")

    async def _probe(self, session: aiohttp.ClientSession) -> bool:
        """Whether a turn works: a thread with a run, which is carried out without the hostile answers of the model."""
        try:
            async with asyncio.timeout(PROBE_TRY_S):
                if self._assistant is None:
                    self._assistant = (await self._call(session, "POST", "/assistants", {"model": "probe"}))["id"]
                thread = {"messages": [{"role": "user", "content": "Probe"}]}
                run = await self._call(
                    session, "POST", "/threads/runs", {"assistant_id": self._assistant, "thread": thread}
                )
                while run["status"] not in TERMINAL:
                    await asyncio.sleep(PROBE_PAUSE_S)
                    run = await self._call(session, "GET", f"/threads/{run['thread_id']}/runs/{run['id']}")
                return True
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _call(
        self, session: aiohttp.ClientSession, method: str, path: str, body: object = None
    ) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": V2, "Content-Type": "application/json"}
        data = None if body is None else orjson.dumps(body)
        url = f"{self._installation.base_url}/v1{path}"
        async with session.request(method, url, data=data, headers=headers) as response:
            raw = await response.read()
            if response.status != 200:
                raise OSError(f"{response.status}: {raw[:200]!r}")
            found: dict[str, str] = orjson.loads(raw)
            return found

    # The faults. Each returns the number of the things that it broke.

    def _some(self, processes: Sequence[psutil.Process], count: int) -> list[psutil.Process]:
        return self._random.sample(list(processes), min(count, len(processes)))

    @staticmethod
    def _one(process: psutil.Process | None) -> list[psutil.Process]:
        return [] if process is None else [process]

    async def _signal(self, processes: Sequence[psutil.Process], number: signal.Signals) -> int:
        done = 0
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(number)
                done += 1
        return done

    async def _kill(self, processes: Sequence[psutil.Process]) -> int:
        """Kills all at once: stopped processes can neither start others nor notice the end of others."""
        if len(processes) > 1:
            await self._signal(processes, signal.SIGSTOP)
        return await self._signal(processes, signal.SIGKILL)

    async def _freeze(self, processes: Sequence[psutil.Process]) -> int:
        done = await self._signal(processes, signal.SIGSTOP)
        if done:
            await asyncio.sleep(self._random.uniform(*FREEZE_S))
            await self._signal(processes, signal.SIGCONT)
        return done

    async def _cut_clients(self) -> int:
        return self._proxy.cut(self._random.choice([0.2, 0.5, 1.0]), self._random)

    async def _cut_database(self) -> int:
        """Ends some or all connections of the server to Postgres."""
        share = self._random.choice([0.2, 0.5, 1.0])
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND random() < $1"
        )
        try:
            async with asyncio.timeout(5):
                db = await self._installation.database()
                try:
                    return int(await db.fetchval(query, share))
                finally:
                    db.terminate()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return 0

    async def _remove_model(self) -> int:
        await self._model.stop_listening()
        await asyncio.sleep(self._random.uniform(*GONE_S))
        await self._model.listen()
        return 1

    async def _fill_disk(self) -> int:
        self._disk.fill()

        async def drain() -> None:
            await asyncio.sleep(self._random.uniform(*FULL_S))
            self._disk.drain()

        self._later.append(drain)
        return 1
