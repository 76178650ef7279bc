"""Hostile texts in the console: they do nothing, and no other host is asked for anything."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from tests.browser import sample
from tests.browser.page import STEP_MS, chromium_browser, console_page
from tests.client import Client
from tests.http.helpers import assistant_with
from tests.scripted import ScriptedServer, calls, says

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
expect.set_options(timeout=STEP_MS)
HOST = "http://attacker.example"
HOSTILE = f"""\
<script>window.attacked = "script"</script>
<img src=x onerror="window.attacked = 'handler'">
<style>body {{ background: url({HOST}/css) }}</style>
<svg onload="window.attacked = 'svg'"></svg><iframe src="{HOST}/frame"></iframe>
![beacon]({HOST}/beacon.png?secret)
[link](javascript:window.attacked='link') <a href="javascript:window.attacked='a'">a</a>
$\\href{{javascript:window.attacked='katex'}}{{x}}$ $\\includegraphics{{{HOST}/katex.png}}$
"""


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with chromium_browser(chromium) as browser:
        yield browser


async def test_hostile_texts_do_nothing(browser: Browser, client: Client, model: ScriptedServer) -> None:
    """In a message, an answer, metadata, a tool's arguments and its output, and an assistant's name."""
    assistant = await assistant_with(client, name=HOSTILE[:200], instructions=HOSTILE, tools=[sample.LOOKUP])
    body = {"messages": [{"role": "user", "content": HOSTILE}], "metadata": {"<img src=x>": HOSTILE[:200]}}
    thread = await client.post("/threads", body)
    model.script(calls(("lookup_order", {"order_id": HOSTILE})), says(HOSTILE))
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    run = await sample.until(client, run, ("requires_action",))
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": HOSTILE}]}
    await client.post(f"/threads/{thread['id']}/runs/{run['id']}/submit_tool_outputs", outputs)
    await sample.until(client, run, ("completed",))
    async with console_page(browser, client.base_url) as console:
        for path in (
            "/threads",
            f"/threads/{thread['id']}",
            f"/threads/{thread['id']}/runs/{run['id']}?view=json",
            f"/threads/{thread['id']}/replay",
            f"/assistants/{assistant['id']}",
        ):
            await console.open(path)
            await expect(console.page.locator("#place")).to_contain_text("attacked")
            assert await console.evaluate("window.attacked") is None
            remote = (
                "document.querySelectorAll('#place iframe, #place img[src^=http], #place a[href^=javascript]').length"
            )
            assert await console.evaluate(remote) == 0
