"""`scripts/screenshots`: pictures of every view of the console, with sample objects on a server of its own.

The server runs in this process over an embedded Postgres and a scripted model, so the pictures show the same objects
each time. Chromium is that of the system.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from service.database import connect
from service.embedded.postgres import EmbeddedPostgres
from service.migrations import migrate
from tests.browser import sample
from tests.browser.page import NARROW, WIDE, chromium_browser, console_page
from tests.client import Client
from tests.clock import WallClock
from tests.fixtures.server import serving
from tests.scripted import ScriptedServer

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
# The pictures that the documentation has: view, size and theme.
DOCUMENTED = (
    ("playground", "wide", "light"),
    ("replay", "wide", "light"),
    ("run", "wide", "light"),
    ("overview", "wide", "dark"),
)
SIZES = {"wide": WIDE, "narrow": NARROW}
THEMES = ("light", "dark")
# Milliseconds without a request after which a view is complete. Views that follow a stream are never idle.
QUIET_MS = 1500


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description="Takes pictures of the console.")
    parser.add_argument("--only", choices=sample.VIEWS, action="append", help="only this view; may be repeated")
    parser.add_argument("--size", choices=SIZES, action="append", help="only this size")
    parser.add_argument("--theme", choices=THEMES, action="append", help="only this theme")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "screenshots", help="where they are written")
    parser.add_argument("--docs", action="store_true", help="only the pictures of the documentation, into docs/images")
    given = parser.parse_args()
    given.folder = IMAGES if given.docs else given.folder
    given.folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium")
    if chromium is None:
        parser.exit(1, "There is no chromium on this machine: install Debian's package of this name.\n")
    with tempfile.TemporaryDirectory() as text:
        home = Path(text)
        home.chmod(0o711)
        asyncio.run(_serve_and_photograph(home, chromium, given))


async def _serve_and_photograph(home: Path, chromium: str, given: argparse.Namespace) -> None:
    embedded = EmbeddedPostgres(home, durable=False)
    url = await embedded.start()
    try:
        await _migrate(url)
        await _photograph(url, home, chromium, given)
    finally:
        await embedded.stop()


async def _migrate(url: str) -> None:
    db = await connect(url)
    await migrate(db)
    await db.close()


async def _photograph(url: str, home: Path, chromium: str, given: argparse.Namespace) -> None:
    models = home / "models.toml"
    await asyncio.to_thread(models.write_text, sample.PRICES, encoding="utf-8")
    async with (
        ScriptedServer() as model,
        serving(url, model, home, search_engine=None, clock=WallClock(), models=models) as client,
        chromium_browser(chromium) as browser,
    ):
        objects = await sample.fill(client, model)
        for size in given.size or SIZES:
            for theme in given.theme or THEMES:
                await _take(browser, client, objects, size, theme, given)


async def _take(
    browser: Browser, client: Client, objects: Mapping[str, Any], size: str, theme: str, given: argparse.Namespace
) -> None:
    async with console_page(browser, client.base_url, size=SIZES[size], theme=theme) as console:
        for name in given.only or sample.VIEWS:
            if given.docs and (name, size, theme) not in DOCUMENTED:
                continue
            await console.open(sample.VIEWS[name].format(**objects))
            await console.page.wait_for_timeout(QUIET_MS)
            file = given.folder / f"{name}-{size}-{theme}.png"
            await console.page.screenshot(path=file)
            print(file, flush=True)


if __name__ == "__main__":
    main()
