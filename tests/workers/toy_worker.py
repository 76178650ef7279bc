"""A worker without a server: it serves nothing, and follows its order (`tests.workers.test_worker_pool`).

At SIGUSR1 it collects the counts of all workers, and writes the answer into the file that its order names.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import orjson

from service.workers.channel import Channel, Message


async def _work() -> None:
    channel = await Channel.open(socket.socket(fileno=int(sys.argv[1])))
    order = await channel.receive()
    assert order is not None
    for message in order.get("first", ()):
        channel.send(**message)
    if order.get("is_killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if "failure" in order:
        channel.send("failed", reason=order["failure"])
        await channel.close()
        return
    if order.get("hangs"):
        await asyncio.Event().wait()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: channel.send("collect", id=1))
    channel.send("ready", base_url=f"http://toy-{order['number']}")
    async with asyncio.TaskGroup() as tasks:
        beats = tasks.create_task(_beat(channel))
        while (message := await channel.receive()) is not None:
            if not _obey(channel, order, message):
                break
        beats.cancel()
    await channel.close()


async def _beat(channel: Channel) -> None:
    while True:
        channel.send("beat", counts=None)
        await asyncio.sleep(0.1)


def _obey(channel: Channel, order: Message, message: Message) -> bool:
    """Returns False if the worker ends."""
    match message["kind"]:
        case "retire":
            return bool(order.get("is_busy"))
        case "snapshot" if order.get("ends_at_snapshot"):
            channel.send("beat", counts=order.get("counts", {}))
            return False
        case "snapshot":
            channel.send("answer", id=message["id"], counts=order.get("counts", {}), gauges={})
        case "answer":
            draft = Path(f"{order['report']}.new")
            draft.write_bytes(orjson.dumps(message))
            draft.replace(order["report"])
        case _:
            pass
    return True


if __name__ == "__main__":
    asyncio.run(_work())
