"""Sends one message to a URL that a client has chosen.

If private addresses are not allowed, all addresses of the host's name are checked, and the connection goes to one of
them: the name is not resolved a second time. Redirects are not followed, the time and the size of the answer are
bounded, and only its status is recorded.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from events.clock import Clock
from events.software_version import RELEASE
from service.addresses import is_public, is_public_host
from service.small_sockets import open_small_socket
from service.webhooks.message import headers

TIMEOUT = 15.0
CONNECT_TIMEOUT = 5.0
# Bytes of an answer that are read, so that the connection can be used again. The connection of a longer one is closed.
MAX_ANSWER = 65_536
MAX_REASON = 200
# The status by which a receiver unsubscribes (Standard Webhooks).
UNSUBSCRIBED = 410


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """The result of an attempt. `status` is the status of the answer, or None if there was no answer; `error` is one
    line, or None if the receiver accepted the message."""

    status: int | None
    error: str | None
    seconds: float

    @property
    def is_accepted(self) -> bool:
        return self.error is None

    @property
    def is_unsubscription(self) -> bool:
        return self.status == UNSUBSCRIBED


class PrivateAddressError(OSError):
    """The host has no public address. The message does not say whether it has a private one."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} has no address, or a private one, which EVERTHREAD_WEBHOOKS_ALLOW_PRIVATE would allow"
        )


class PublicResolver(AbstractResolver):
    """The system's resolver, which fails if it finds an address that is not public. aiohttp connects to its result."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            results = await self._resolver.resolve(host, port, family)
        except OSError:
            raise PrivateAddressError(host) from None
        if not all(is_public(result["host"]) for result in results):
            raise PrivateAddressError(host)
        return results

    async def close(self) -> None:
        await self._resolver.close()


class Sender:
    """An HTTP client, to be used as a context manager. `allow_private` also allows plain HTTP: see `url_problem`."""

    def __init__(self, *, clock: Clock, allow_private: bool, resolver: AbstractResolver | None = None) -> None:
        self.allow_private = allow_private
        self._clock = clock
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Sender:
        system = self._resolver or aiohttp.ThreadedResolver()
        connector = aiohttp.TCPConnector(
            resolver=system if self.allow_private else PublicResolver(system),
            use_dns_cache=False,
            # The couriers bound the concurrent messages. With a limit here a message would wait for other receivers
            # while its own time-out runs.
            limit=0,
            limit_per_host=0,
            socket_factory=open_small_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            headers={"User-Agent": f"Everthread/{RELEASE}", "Content-Type": "application/json"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, url: str, secrets: Sequence[str], id: str, body: bytes) -> DeliveryOutcome:
        """Makes one attempt. Raises no error that the receiver could cause."""
        began = time.monotonic()
        status, error = await self._attempt(url, headers(secrets, id, body, self._clock.now()), body)
        return DeliveryOutcome(status, error, time.monotonic() - began)

    async def _attempt(self, url: str, signed: dict[str, str], body: bytes) -> tuple[int | None, str | None]:
        assert self._session is not None, "the sender is not open"
        problem = url_problem(url, allow_private=self.allow_private)
        if problem is not None:
            return None, problem
        try:
            async with self._session.post(url, data=body, headers=signed, allow_redirects=False) as answer:
                with suppress(aiohttp.ClientError, TimeoutError):
                    await answer.content.read(MAX_ANSWER)
                is_success = 200 <= answer.status < 300
                return answer.status, None if is_success else f"answered with status {answer.status}"
        except TimeoutError:
            return None, f"did not answer within {TIMEOUT:.0f} seconds"
        except aiohttp.ClientConnectorError as error:
            inner = error.os_error
            return None, str(inner) if isinstance(inner, PrivateAddressError) else f"cannot be reached: {_line(inner)}"
        except (aiohttp.ClientError, OSError, ssl.SSLError, asyncio.IncompleteReadError, ValueError) as error:
            return None, f"failed: {_line(error)}"


def url_problem(url: str, *, allow_private: bool) -> str | None:
    """Returns the reason not to send to this URL, or None. Does not resolve the name of the host."""
    try:
        parts = URL(url)
        port = parts.port
    except ValueError:
        return "is no URL"
    host = parts.host
    if parts.scheme not in ("http", "https") or not host or not port or parts.user is not None or parts.fragment:
        return "must be https://host/path, with no user name and no fragment"
    if allow_private:
        return None
    if parts.scheme != "https":
        return "must be an https:// URL; EVERTHREAD_WEBHOOKS_ALLOW_PRIVATE would allow http:// too"
    if not is_public_host(parts.raw_host or ""):
        return f"{host} is at a private address, which EVERTHREAD_WEBHOOKS_ALLOW_PRIVATE would allow"
    return None


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:MAX_REASON]
