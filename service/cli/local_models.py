"""Looks for a model server on this machine, which serves better than the embedded model.

Every usual port is asked for its list of models at the same time, for at most LOOK_S. Another Everthread is not
listed, because it answers only with a key.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

LOOK_S = 1.0
MAX_ANSWER = 1024 * 1024  # bytes
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)
# The ports on which these programs listen if nothing else is set.
USUAL_PORTS: Mapping[int, str] = {11434: "Ollama", 1234: "LM Studio", 8080: "llama.cpp", 8000: "vLLM"}


@dataclass(frozen=True, slots=True)
class LocalModelServer:
    """A model server on this machine, and the name of its first model."""

    program: str
    base_url: str
    model: str


async def find_model_server(own_port: int, ports: Mapping[int, str]) -> LocalModelServer | None:
    """Returns the first model server that answers on one of these ports, in their order, but not on `own_port`."""
    looks = [asyncio.create_task(_look(port, program)) for port, program in ports.items() if port != own_port]
    if looks:
        await asyncio.wait(looks, timeout=LOOK_S)
    for look in looks:
        look.cancel()
    await asyncio.gather(*looks, return_exceptions=True)
    answers = (look.result() for look in looks if not look.cancelled() and look.exception() is None)
    return next((server for server in answers if server is not None), None)


async def _look(port: int, program: str) -> LocalModelServer | None:
    """Returns the server on this port, or None if what answers there has no list of models."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None
    try:
        # HTTP/1.0, so the answer is not divided into chunks and ends with the connection.
        writer.write(b"GET /v1/models HTTP/1.0\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\n\r\n" % port)
        answer = b""
        while len(answer) < MAX_ANSWER and not _is_whole(answer) and (piece := await reader.read(65536)):
            answer += piece
    except OSError:
        return None
    finally:
        writer.close()
    model = _first_model(answer)
    return None if model is None else LocalModelServer(program, f"http://127.0.0.1:{port}/v1", model)


def _is_whole(answer: bytes) -> bool:
    """Whether the answer has the length that it names. Some servers keep the connection open nevertheless."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return length is not None and len(body) >= int(length[1])


def _first_model(answer: bytes) -> str | None:
    """Returns the first name in an HTTP answer with a list of models, or None if it is not such an answer.

    Models that only embed texts, by their names, are passed over.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or status[1][:3] != b"200":
        return None
    try:
        names = [each["id"] for each in orjson.loads(body)["data"]]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    printable = (name for name in names if isinstance(name, str) and name.isprintable())
    return next((name for name in printable if "embed" not in name.lower()), None)
