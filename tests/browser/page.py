"""A page of the console in Debian's Chromium, signed in, and what it may not do meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.client import KEY

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
# Milliseconds for a step of a page on a busy machine.
STEP_MS = 45_000
WIDE, NARROW = (1280, 900), (360, 740)


@asynccontextmanager
async def chromium_browser(chromium: str) -> AsyncIterator[Browser]:
    """Starts Debian's Chromium. Playwright's own browsers are never downloaded."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


class ConsolePage:
    """A page and its faults: errors of scripts, refusals of the policy, and requests to other hosts."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.faults: list[str] = []
        page.set_default_timeout(STEP_MS)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("request", lambda request: self._see(request.url))

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:
            self.faults.append(f"console: {text}")

    def _see(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"request: {url}")

    async def sign_in(self, key: str = KEY) -> None:
        await self.page.goto(f"{self.origin}/console")
        await self.page.fill("#api-key", key)
        await self.page.click("et-sign-in button[type=submit]")
        await self.page.wait_for_selector(".side", state="attached")

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.origin}/console{path}")

    async def text_of(self, selector: str) -> str:
        return (await self.page.locator(selector).first.inner_text()).strip()

    async def evaluate(self, script: str, *given: Any) -> Any:
        return await self.page.evaluate(script, *given)


@asynccontextmanager
async def console_page(
    browser: Browser, base_url: str, *, size: Sequence[int] = WIDE, theme: Any = "light", key: str | None = KEY
) -> AsyncIterator[ConsolePage]:
    """Opens a page in a new profile, signs in if there is a `key`, and checks in the end that it has no faults."""
    context: BrowserContext = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, accept_downloads=True
    )
    try:
        console = ConsolePage(await context.new_page(), base_url.removesuffix("/v1"))
        if key is not None:
            await console.sign_in(key)
        yield console
        assert console.faults == []
    finally:
        await context.close()
