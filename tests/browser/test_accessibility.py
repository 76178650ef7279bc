"""Every view of the console under axe-core, wide and light by all rules, narrow and dark by that of contrast.

Each view is loaded once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.browser import sample
from tests.browser.page import NARROW, STEP_MS, WIDE, chromium_browser, console_page
from tests.conftest import StartServer
from tests.scripted import ScriptedServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
expect.set_options(timeout=STEP_MS)
SEVERE = ("serious", "critical")


async def severe_findings(page: Page, rules: list[str]) -> list[str]:
    """Returns the serious findings about the page by these rules, or by all, as lines with the rule and elements."""
    only = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    results = await Axe().run(page, options={"resultTypes": ["violations"], **only})
    width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [f"wider than the window by {width} pixels"] * (width > 0) + [
        f"{found['id']}: {[node['target'] for node in found['nodes']][:3]}"
        for found in results.response["violations"]
        if found["impact"] in SEVERE
    ]


async def loaded(page: Page) -> None:
    """Waits until the view has its data."""
    await page.wait_for_selector("main .page")
    await expect(page.locator("et-loading")).to_have_count(0)


async def show(page: Page, size: tuple[int, int], theme: Literal["light", "dark"]) -> None:
    """Gives the window another size and the system another theme, without a new load of the page."""
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    await page.emulate_media(color_scheme=theme)


async def test_no_view_has_a_serious_finding(
    chromium: str, start_server: StartServer, model: ScriptedServer, tmp_path: Path
) -> None:
    models = tmp_path / "models.toml"
    models.write_text(sample.PRICES, encoding="utf-8")
    found: dict[str, list[str]] = {}
    async with start_server(indexing=True, models=models) as client, chromium_browser(chromium) as browser:
        objects = await sample.fill(client, model)
        async with console_page(browser, client.base_url) as console:
            for name, path in sample.VIEWS.items():
                await show(console.page, WIDE, "light")
                await console.open(path.format(**objects))
                await loaded(console.page)
                found[f"{name} light"] = await severe_findings(console.page, [])
                await show(console.page, NARROW, "dark")
                found[f"{name} dark"] = await severe_findings(console.page, ["color-contrast"])
    assert {view: findings for view, findings in found.items() if findings} == {}
