"""Reads the bodies of requests within bounds, and parses them without holding the event loop.

A body is bounded in bytes by its operation (`service.http.route`), in tokens (`service.wire.json_meter`), in time, and
by the budget of bodies in flight (`service.http.body_budget`). All are checked while it arrives. What exceeds OFF_LOOP
is parsed and checked in a thread, one body at a time, in short steps (`service.wire.json_steps`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from service.http.body_budget import BudgetExceeded
from service.http.context import BODIES, BODY, HELD_BYTES, KEY, ROUTE, ReceivedBody
from service.http.errors import ApiError
from service.http.responses import add_headers
from service.http.route import PassedBody
from service.wire import integers
from service.wire.json_meter import PIECE, FieldFinder, JsonMeter
from service.wire.json_steps import STEP

# Bytes and tokens of a body that is parsed in the event loop.
OFF_LOOP = 64 * 1024
OFF_LOOP_TOKENS = 4_000
BODY_TIMEOUT = 60.0
# Seconds for which a body is measured in one turn of the event loop. The last piece may exceed them.
MAX_TURN_S = 0.002
# Seconds that a client should wait if too many bytes are in flight.
BUSY_WAIT = 1
# The owner of the bodies of requests without a key: those that sign in.
_STRANGER = "stranger"

R = TypeVar("R")


async def parse_request(request: web.Request, parse: Callable[[Any], R]) -> R:
    """Returns the result of `parse` for the decoded body, which is None if the body is empty.

    Raises ApiError if the body is not JSON, too long, too complex or too slow, and the errors of `parse`.
    """
    body = await receive_body(request)

    def decode_and_parse() -> R:
        return parse(decode(body))

    if not is_large(body):
        return decode_and_parse()
    return await request.app[BODIES].run(decode_and_parse)


async def receive_body(request: web.Request) -> ReceivedBody:
    """Returns the body as it came, and again if it was read before.

    Raises ApiError if it is too long, too complex, too slow or broken.
    """
    if BODY not in request:
        request[BODY] = await _receive(request)
    return request[BODY]


def is_large(body: ReceivedBody) -> bool:
    """Whether the body is to be parsed in a thread."""
    return len(body.raw) > OFF_LOOP or body.meter.tokens > OFF_LOOP_TOKENS


def release_body(request: web.Request) -> None:
    """Gives the bytes of the request's body back to the budget, at the end of the request."""
    if HELD_BYTES in request:
        request[HELD_BYTES].release()


def decode(body: ReceivedBody) -> Any:
    """Returns the JSON of a body; None if it is empty.

    Raises ApiError if it is not JSON, and Rejection if a text in it is too long.
    """
    if not body.raw.strip():
        return None
    try:
        return integers.parse_json(body.raw, has_long_integers=body.meter.has_long_integers)
    except json.JSONDecodeError as error:
        # Positions in a part of a large body would mislead.
        raise not_json(error if len(body.raw) <= STEP else error.msg) from error


def not_json(error: object) -> ApiError:
    message = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP"
        f" library correctly. The API expects a JSON payload, but what was sent was not valid JSON: {error}.)"
    )
    return ApiError(400, message)


async def _receive(request: web.Request) -> ReceivedBody:
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await _read(request)
    except TimeoutError:
        raise ApiError(408, f"The request body did not arrive within {BODY_TIMEOUT:.0f} seconds.") from None
    except BudgetExceeded as exceeded:
        raise _budget_error(request, exceeded) from None
    except ConnectionError as error:
        raise ApiError(400, "The connection ended before the request body did.") from error
    except web.RequestPayloadError as error:
        raise ApiError(400, "The request body could not be read: it is not encoded as its headers say.") from error


async def _read(request: web.Request) -> ReceivedBody:
    limit = request[ROUTE].limit
    meter = FieldFinder() if isinstance(request[ROUTE].body, PassedBody) else JsonMeter()
    too_long = ApiError(413, f"Maximum request body size {limit.bytes} exceeded.")
    if (request.content_length or 0) > limit.bytes:
        raise too_long
    held = request[HELD_BYTES] = request.app[BODIES].budget.reserve(request[KEY].id if KEY in request else _STRANGER)
    pieces, size = [], 0
    async for arrived in request.content.iter_any():
        size += len(arrived)
        if size > limit.bytes:
            raise too_long
        held.add(len(arrived))
        await _measure(meter, arrived, limit.tokens)
        pieces.append(arrived)
    # Joining more than a megabyte lets other threads run.
    return ReceivedBody(await asyncio.to_thread(b"".join, pieces) if size > OFF_LOOP else b"".join(pieces), meter)


async def _measure(meter: JsonMeter, arrived: bytes, most_tokens: int) -> None:
    """Feeds the bytes to the meter, and lets other requests run in between. Raises ApiError for too many tokens."""
    turn_ends = time.perf_counter() + MAX_TURN_S
    for at in range(0, len(arrived), PIECE):
        meter.feed(arrived[at : at + PIECE])
        if meter.tokens > most_tokens:
            message = (
                f"The request body is too complex: it has more than {most_tokens} values. Please send it in several"
                " requests."
            )
            raise ApiError(400, message, code="request_too_complex")
        if time.perf_counter() >= turn_ends:
            await asyncio.sleep(0)
            turn_ends = time.perf_counter() + MAX_TURN_S


def _budget_error(request: web.Request, exceeded: BudgetExceeded) -> ApiError:
    add_headers(request, {"retry-after": str(BUSY_WAIT)})
    message = "Too many large request bodies are being worked on at once. Please try again."
    if exceeded.owner == "server":
        return ApiError(503, message, code="too_many_bytes")
    return ApiError(429, message, code="too_many_bytes", kind="requests")
