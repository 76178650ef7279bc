"""The console in a real Chromium: each page's main job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser import sample
from tests.browser.page import STEP_MS, chromium_browser, console_page
from tests.client import KEY, Client
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, thread_with
from tests.scripted import ScriptedServer, calls, says

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
expect.set_options(timeout=STEP_MS)


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with chromium_browser(chromium) as browser:
        yield browser


async def test_a_link_signs_in_without_typing(browser: Browser, start_server: StartServer) -> None:
    urls: list[str] = []
    async with (
        start_server(on_console=urls.append) as client,
        console_page(browser, client.base_url, key=None) as console,
    ):
        await console.page.goto(urls[0])
        await expect(console.page.get_by_role("heading", name="Threads")).to_be_visible()
        assert "sign-in" not in console.page.url
        assert await console.evaluate("document.cookie") == ""


async def test_a_wrong_key_is_named_in_words(browser: Browser, client: Client) -> None:
    async with console_page(browser, client.base_url, key=None) as console:
        await console.open("/threads")
        await console.page.fill("#api-key", "sk-wrong-0123456789")
        await console.page.click("button[type=submit]")
        await expect(console.page.get_by_role("alert")).to_contain_text("Incorrect API key provided")
        await console.page.fill("#api-key", KEY)
        await console.page.click("button[type=submit]")
        await expect(console.page.get_by_role("heading", name="Threads")).to_be_visible()


async def test_threads_are_listed_filtered_and_deleted(browser: Browser, client: Client) -> None:
    for number in range(3):
        await client.post(
            "/threads",
            {"messages": [{"role": "user", "content": f"Question {number}"}], "metadata": {"user": str(number % 2)}},
        )
    async with console_page(browser, client.base_url) as console:
        rows = console.page.locator(".thread-row .row-link")
        await expect(rows).to_have_text(["Question 2", "Question 1", "Question 0"])
        await console.page.get_by_label("Metadata").fill("user=1")
        await expect(rows).to_have_text(["Question 1"])
        assert "metadata=user%3D1" in console.page.url
        await console.page.get_by_label("Select thread_").check()
        await console.page.get_by_role("button", name="Delete …").click()
        await expect(console.page.get_by_role("heading", name="Delete 1 thread?")).to_be_visible()
        await console.page.get_by_role("button", name="Delete 1", exact=True).click()
        await expect(console.page.get_by_role("heading", name="No thread matches")).to_be_visible()
    assert len((await client.get("/threads"))["data"]) == 2


async def test_a_run_is_watched_token_by_token(browser: Browser, client: Client, model: ScriptedServer) -> None:
    await assistant_with(client, name="Guide")
    reply = says("one two three", pieces=["one", " two", " three"])
    model.script(reply.waits("first", before=2).waits("second", before=4))
    async with console_page(browser, client.base_url) as console:
        await console.open("/playground")
        await console.page.get_by_label("Write a message").fill("Count")
        await console.page.get_by_label("Write a message").press("Enter")
        answer = console.page.locator(".message.assistant .prose")
        await expect(answer).to_have_text("one")
        model.open_gate("first")
        await expect(answer).to_have_text("one two")
        model.open_gate("second")
        await expect(answer).to_have_text("one two three")
        await expect(console.page.get_by_role("button", name="Send")).to_be_enabled()
        assert "thread=thread_" in console.page.url


async def test_tool_outputs_are_given_in_a_form(browser: Browser, client: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(client, name="Guide", tools=[sample.LOOKUP])
    thread = await thread_with(client, "Where is it?")
    model.script(calls(("lookup_order", {"order_id": "wrong"})), says("It is here."))
    await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    async with console_page(browser, client.base_url) as console:
        await console.open(f"/playground?thread={thread['id']}")
        await expect(console.page.locator("form.outputs .field-error")).to_contain_text("order_id")
        await console.page.get_by_label("Output of lookup_order").fill('{"place": "here"}')
        await console.page.get_by_role("button", name="Send outputs").click()
        await expect(console.page.locator(".message.assistant .prose")).to_have_text("It is here.")


async def test_an_edited_message_is_answered_on_a_fork_beside(
    browser: Browser, client: Client, model: ScriptedServer
) -> None:
    assistant = await assistant_with(client, name="Guide")
    thread = await thread_with(client, "First question")
    model.script(says("First answer"), says("Second answer"))
    await sample.run_to_end(client, thread, assistant)
    async with console_page(browser, client.base_url) as console:
        await console.open(f"/playground?thread={thread['id']}")
        await console.page.get_by_role("button", name="Edit and rerun").click()
        await console.page.get_by_label("Edit the message").last.fill("Second question")
        await console.page.get_by_role("button", name="Rerun", exact=True).click()
        sides = console.page.locator(".beside > section")
        await expect(sides.nth(0)).to_contain_text("First answer")
        await expect(sides.nth(1)).to_contain_text("Second answer")
        await expect(sides.nth(1)).not_to_contain_text("First question")
    assert len((await client.get(f"/threads/{thread['id']}/messages"))["data"]) == 2


async def test_a_run_shows_its_prompt_and_its_events(browser: Browser, client: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(client, name="Guide", instructions="Answer in one word.")
    thread = await thread_with(client, "Which city?")
    model.script(says("Paris"))
    run = await sample.run_to_end(client, thread, assistant)
    async with console_page(browser, client.base_url) as console:
        await console.open(f"/threads/{thread['id']}/runs/{run['id']}")
        await console.page.get_by_role("button", name="Model call 1").click()
        await expect(console.page.locator("et-prompt")).to_contain_text("Exactly the bytes that were sent")
        await console.page.locator("et-prompt summary", has_text="Instructions").click()
        await expect(console.page.locator("et-prompt")).to_contain_text("Answer in one word.")
        await console.page.get_by_role("button", name="All events").click()
        await expect(console.page.locator(".event-row b").first).to_have_text("run.created")
        assert "view=events" in console.page.url
        await console.page.get_by_role("button", name="Compact").click()
        await expect(console.page.locator(".event-row b").last).to_have_text("run.completed")


async def test_the_slider_shows_what_time_travel_answers(
    browser: Browser, client: Client, model: ScriptedServer
) -> None:
    assistant = await assistant_with(client, name="Guide", tools=[sample.LOOKUP])
    thread = await thread_with(client, "Where is it?")
    model.script(says("It is **here**."))
    await sample.run_to_end(client, thread, assistant)
    async with asyncio.timeout(STEP_MS / 1000):
        versions: list[int] = []
        while len(versions) < 9:  # the feed has an event about a second after it was written
            feed = await client.get("/audit/events", stream_id=thread["id"], limit="100")
            versions = [event["version"] for event in feed["data"]]
    async with console_page(browser, client.base_url) as console:
        await console.open(f"/threads/{thread['id']}/replay?at=1")
        for version in versions:
            await expect(console.page.locator(f'.replay-state[data-version="{version}"]')).to_have_count(1)
            shown = await console.evaluate(
                "[...document.querySelectorAll('.replay-state .message')].map(m => m.dataset.id)"
            )
            then = await client.get(f"/threads/{thread['id']}/messages", at=str(version), order="asc")
            assert shown == [message["id"] for message in then["data"]], version
            await console.page.keyboard.press("ArrowRight")
        await console.page.keyboard.press("Home")
        await expect(console.page.locator('.replay-state[data-version="1"]')).to_have_count(1)
        await console.page.get_by_role("slider").fill(str(len(versions) - 1))
        await expect(console.page.locator(f'.replay-state[data-version="{versions[-1]}"]')).to_have_count(1)
        await console.page.get_by_role("button", name="Fork from here").click()
        await console.page.wait_for_url("**/playground?thread=*")
        await expect(console.page.locator(".message.assistant")).to_contain_text("It is here.")


async def test_an_assistant_is_made_changed_and_restored(browser: Browser, client: Client) -> None:
    async with console_page(browser, client.base_url) as console:
        await console.open("/assistants/new")
        await console.page.get_by_label("Name").fill("Librarian")
        await console.page.get_by_label("Model").fill("gpt-4o")
        await console.page.get_by_label("Instructions").fill("Find books.")
        await console.page.get_by_role("button", name="Add a function").click()
        schema = {"name": "find", "parameters": {"type": "objekt"}}
        await console.page.get_by_label("Function 1").fill(json.dumps(schema))
        await console.page.get_by_role("button", name="Create").click()
        await expect(console.page.get_by_role("alert")).to_contain_text("is no type")
        schema["parameters"] = {"type": "object", "properties": {}}
        await console.page.get_by_label("Function 1").fill(json.dumps(schema))
        await console.page.get_by_role("button", name="Create").click()
        await expect(console.page.get_by_role("heading", name="Librarian", level=1)).to_be_visible()
        await console.page.get_by_label("Instructions").fill("Find films.")
        await console.page.get_by_role("button", name="Save").click()
        await expect(console.page.locator(".toast").last).to_have_text("Saved.")
        await console.page.get_by_role("button", name="History").click()
        await expect(console.page.locator(".removed").first).to_contain_text("Find books.")
        await console.page.get_by_role("button", name="Restore this version").click()
        await expect(console.page.locator(".change")).to_have_count(3)
    [assistant] = (await client.get("/assistants"))["data"]
    assert (assistant["name"], assistant["instructions"]) == ("Librarian", "Find books.")
    assert assistant["tools"][0]["function"]["name"] == "find"


async def test_the_palette_opens_views_and_ids(browser: Browser, client: Client) -> None:
    thread: Any = await thread_with(client, "Hello")
    async with console_page(browser, client.base_url) as console:
        await console.page.keyboard.press("Control+k")
        await console.page.locator("input[role=combobox]").fill(thread["id"])
        await console.page.keyboard.press("Enter")
        await console.page.wait_for_url(f"**/threads/{thread['id']}")
        await expect(console.page.locator(".message.user")).to_contain_text("Hello")
        await console.page.keyboard.press("Control+k")
        await console.page.locator("input[role=combobox]").fill("assist")
        await console.page.keyboard.press("Enter")
        await console.page.wait_for_url("**/assistants*")
