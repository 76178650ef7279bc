"""Requests to a server as a browser sends them from the console: with a cookie and without a key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from tests.client import Client

OWN = {"Everthread-Console": "1", "OpenAI-Beta": "assistants=v2"}


class Browser:
    """A browser's cookies and requests. `answer` returns (status, body, headers)."""

    def __init__(self, session: aiohttp.ClientSession, origin: str) -> None:
        self._session = session
        self.origin = origin

    async def answer(
        self, method: str, path: str, *, headers: Mapping[str, str] = OWN, json: Any = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        async with self._session.request(
            method, self.origin + path, headers=headers, json=json, allow_redirects=False
        ) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.read()), response.headers

    async def status(self, method: str, path: str, **given: Any) -> int:
        return (await self.answer(method, path, **given))[0]

    async def sign_in(self, **credential: str) -> tuple[int, Any, Mapping[str, str]]:
        return await self.answer("POST", "/console/session", json=credential)

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._session.cookie_jar}

    def take_cookies(self, other: Browser) -> None:
        """Takes the cookies of another browser, as a thief or another process would see them."""
        self._session.cookie_jar.update_cookies(other.cookies, response_url=URL(self.origin))


@asynccontextmanager
async def browser_of(client: Client) -> AsyncIterator[Browser]:
    """Yields a browser with no cookies."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Browser(session, client.base_url.removesuffix("/v1"))
