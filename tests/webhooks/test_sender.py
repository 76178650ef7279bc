"""One attempt: the addresses that it may reach, its content and signature, and its limits."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from openai import InvalidWebhookSignatureError, OpenAI

from service.webhooks import sender
from service.webhooks.message import headers
from service.webhooks.sender import Sender
from tests.clock import CLOCK, LoopClock
from tests.webhooks.receiver import WAIT_S, Receiver

SECRET = "whsec_" + base64.b64encode(b"x" * 32).decode()
HIDDEN = "hooks.example.com has no address, or a private one, which EVERTHREAD_WEBHOOKS_ALLOW_PRIVATE would allow"
BODY = b'{"type":"webhook.test"}'


class FakeResolver(AbstractResolver):
    """Resolves any name to the next of these lists of addresses, and to the last list after that."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.names: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.names.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0) for one in found
        ]

    async def close(self) -> None:
        pass


class EmptyResolver(AbstractResolver):
    """Resolves no name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("found", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["169.254.169.254"], ["::1"]])
async def test_names_at_private_addresses_are_not_connected_to(found: list[str]) -> None:
    resolver = FakeResolver(found)
    async with Sender(clock=CLOCK, allow_private=False, resolver=resolver) as send:
        outcome = await send.send("https://hooks.example.com/", [SECRET], "evt_1", BODY)
    assert outcome.error == HIDDEN
    assert (outcome.is_accepted, outcome.status) == (False, None)


async def test_errors_do_not_reveal_names_of_the_private_network() -> None:
    """A name without an address and a name with a private address fail with the same error."""
    async with Sender(clock=CLOCK, allow_private=False, resolver=EmptyResolver()) as send:
        outcome = await send.send("https://hooks.example.com/", [SECRET], "evt_1", BODY)
    assert outcome.error == HIDDEN


async def test_the_connection_goes_to_the_address_that_was_checked(receiver: Receiver) -> None:
    """A name may be public when it is resolved and private afterwards (DNS rebinding)."""
    resolver = FakeResolver(["1.1.1.1"], ["127.0.0.1"])
    connected: list[str] = []

    async with Sender(clock=CLOCK, allow_private=False, resolver=resolver) as send:
        loop = asyncio.get_running_loop()
        real = loop.sock_connect

        async def connect(sock: socket.socket, address: tuple[str, int]) -> None:
            connected.append(address[0])
            raise ConnectionRefusedError

        loop.sock_connect = connect  # type: ignore[method-assign, assignment]
        try:
            outcome = await send.send(f"https://hooks.example.com:{receiver.port}/", [SECRET], "evt_1", BODY)
        finally:
            loop.sock_connect = real  # type: ignore[method-assign]
    assert resolver.names == ["hooks.example.com"]
    assert connected == ["1.1.1.1"]
    assert not outcome.is_accepted
    assert receiver.messages == []


async def test_every_new_connection_resolves_the_name() -> None:
    resolver = FakeResolver(["127.0.0.1"])
    async with Sender(clock=CLOCK, allow_private=False, resolver=resolver) as send:
        for _ in range(2):
            assert not (await send.send("https://hooks.example.com/", [SECRET], "evt_1", BODY)).is_accepted
    assert resolver.names == ["hooks.example.com"] * 2


async def test_messages_are_signed(receiver: Receiver) -> None:
    receiver.secrets["/hook"] = SECRET
    async with Sender(clock=CLOCK, allow_private=True) as send:
        outcome = await send.send(receiver.url(), [SECRET], "evt_1", BODY)
    assert (outcome.is_accepted, outcome.status) == (True, 200)
    [got] = receiver.messages
    assert (got.is_verified, got.id, got.raw) == (True, "evt_1", BODY)


def test_the_official_client_accepts_the_signature() -> None:
    """The other tests verify messages with the library of the specification."""
    signed = headers([SECRET], "evt_1", BODY, CLOCK.now())
    client = OpenAI(api_key="unused", base_url="http://localhost")
    client.webhooks.verify_signature(BODY, signed, secret=SECRET)
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.verify_signature(BODY + b" ", signed, secret=SECRET)


def test_the_signature_of_the_example_in_the_specification() -> None:
    """The example is from the reference implementations."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    signed = headers([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at)
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signed["webhook-timestamp"] == "1614265330"


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 429, 500, 503])
async def test_other_answers_are_failures_and_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda event, path: status
    async with Sender(clock=CLOCK, allow_private=True) as send:
        outcome = await send.send(receiver.url(), [SECRET], "evt_1", BODY)
    assert (outcome.status, outcome.error, outcome.is_unsubscription) == (
        status,
        f"answered with status {status}",
        status == 410,
    )
    assert [got.path for got in receiver.messages] == ["/hook"]


@asynccontextmanager
async def serve(handler: Callable[[web.Request], object]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_an_answer_without_end_is_cut_off() -> None:
    sent, ended = 0, asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
                sent += 65_536
        except ConnectionError:
            ended.set()
            raise

    async with serve(endless) as url, Sender(clock=CLOCK, allow_private=True) as send:
        assert (await send.send(url, [SECRET], "evt_1", BODY)).is_accepted, "the status has arrived"
        async with asyncio.timeout(WAIT_S):
            await ended.wait()
    assert sent < 50_000_000


async def test_a_receiver_that_does_not_answer() -> None:
    clock = LoopClock(asyncio.get_running_loop())
    reached, stay = asyncio.Event(), asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        reached.set()
        await stay.wait()
        return web.Response()

    async with serve(silent) as url, Sender(clock=CLOCK, allow_private=True) as send:
        sending = asyncio.create_task(send.send(url, [SECRET], "evt_1", BODY))
        await reached.wait()
        clock.skip(sender.TIMEOUT + 2)
        outcome = await sending
        stay.set()
    assert (outcome.status, outcome.error) == (None, "did not answer within 15 seconds")


async def test_a_receiver_that_does_not_listen() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Sender(clock=CLOCK, allow_private=True) as send:
        outcome = await send.send(f"http://127.0.0.1:{port}/", [SECRET], "evt_1", BODY)
    assert outcome.status is None
    assert outcome.error is not None
    assert outcome.error.startswith("cannot be reached: ")
    assert "\n" not in outcome.error


async def test_bytes_that_are_no_http() -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(noise, "127.0.0.1", 0)
    async with server, Sender(clock=CLOCK, allow_private=True) as send:
        port = server.sockets[0].getsockname()[1]
        outcome = await send.send(f"http://127.0.0.1:{port}/", [SECRET], "evt_1", BODY)
    assert outcome.error is not None
    assert outcome.error.startswith("failed: ")


@pytest.mark.slow
async def test_slow_receivers_delay_no_others() -> None:
    """This holds for any number of messages that wait for answers, and for receivers on the same host."""
    slow, stay, waiting = 8 * 20, asyncio.Event(), asyncio.Event()
    standing = 0

    async def answer_quickly(request: web.Request) -> web.Response:
        nonlocal standing
        if "slow" in request.query:
            standing += 1
            if standing == slow:
                waiting.set()
            await stay.wait()
        return web.Response()

    async with serve(answer_quickly) as url, Sender(clock=CLOCK, allow_private=True) as send:
        tasks = [asyncio.create_task(send.send(f"{url}?slow=1", [SECRET], f"evt_{n}", BODY)) for n in range(slow)]
        async with asyncio.timeout(WAIT_S):
            await waiting.wait()
            assert (await send.send(url, [SECRET], "evt_quick", BODY)).is_accepted
        stay.set()
        await asyncio.gather(*tasks)
