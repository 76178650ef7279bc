"""A worker of `everthread serve --workers`: `python -m service.cli.worker DESCRIPTOR`, which only its parent starts.

The descriptor is that of the worker's end of the channel. The first message is the worker's order.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys

from service.app.server import serve
from service.cli import logs
from service.cli.garbage import collect_while_idle, exempt_started_objects, shorten_turns_of_threads
from service.cli.stop_signals import run_loop, run_until_signal
from service.errors import StartupError
from service.settings import Settings
from service.tasks.background import background
from service.workers.channel import Channel, Message
from service.workers.membership import Membership
from service.workers.shared_memory import SharedMemory


def main() -> None:
    """Serves until the parent ends, or sends SIGTERM, or has a successor for this worker.

    SIGHUP, which restarts the workers if the parent gets it, may reach all processes of the service.
    """
    gc.disable()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    run_loop(_work(end))


async def _work(end: socket.socket) -> None:
    channel = await Channel.open(end)
    order = await channel.receive()
    if order is None:
        return
    settings = Settings.load(**order["settings"])
    logs.configure(settings.log_level)
    listeners = [socket.socket(fileno=number) for number in order["listeners"]]
    for listener in listeners:
        listener.set_inheritable(False)
    membership = Membership(
        channel,
        listeners=listeners,
        is_alone=order["is_alone"],
        pool_size=order["pool_size"],
        memory=SharedMemory(order["memory"]),
    )
    try:
        work = _serve(settings, order, channel, membership)
        await run_until_signal(work, lambda: None, stops_at_hangup=False)
    except* StartupError as group:
        channel.send("failed", reason=str(_first(group)))
        sys.exit(1)
    finally:
        membership.leave()
        await channel.close()


async def _serve(settings: Settings, order: Message, channel: Channel, membership: Membership) -> None:
    console_urls: list[str] = []

    def announce(base_url: str) -> None:
        exempt_started_objects()
        shorten_turns_of_threads()
        channel.send("ready", base_url=base_url, console_url=console_urls[0] if console_urls else None)

    async with background(membership.run(), collect_while_idle()):
        on_console = console_urls.append if order.get("makes_console_link") else None
        await serve(settings, **order["upstreams"], ready=announce, on_console=on_console, membership=membership)


def _first(group: BaseExceptionGroup[StartupError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()
