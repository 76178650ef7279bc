"""The views of the console for those who operate a server, in a real Chromium: each view's main job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from service.audit import verify_proof
from service.database import Pool
from tests.browser import sample
from tests.browser.page import STEP_MS, chromium_browser, console_page
from tests.client import Client
from tests.http.files import upload
from tests.http.helpers import assistant_with, thread_with
from tests.http.keys import as_key, make_key
from tests.http.stores import POLL
from tests.scripted import ScriptedServer, errors, says

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
expect.set_options(timeout=STEP_MS)


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with chromium_browser(chromium) as browser:
        yield browser


async def test_the_overview_counts_runs_and_leads_to_a_failure(
    browser: Browser, client: Client, model: ScriptedServer
) -> None:
    assistant = await assistant_with(client, name="Guide")
    model.script(says("Fine."), errors(401))
    for _ in range(2):
        run = await sample.run_to_end(client, await thread_with(client, "Hello"), assistant)
    assert run["status"] == "failed"
    async with console_page(browser, client.base_url) as console:
        await console.open("/overview?range=hour")
        row = console.page.locator("et-failure-table tbody tr")
        await expect(row).to_have_count(1)
        await expect(row).to_contain_text("server_error")
        await expect(console.page.locator(".numbers")).to_contain_text("Turns a minute")
        await expect(console.page.locator("et-plot canvas")).to_have_count(2)
        await console.page.get_by_role("button", name="Last week").click()
        await console.page.wait_for_url("**range=week")
        await console.page.get_by_role("link", name="Open the run").click()
        await console.page.wait_for_url(f"**/runs/{run['id']}")


async def test_a_file_is_uploaded_shown_and_searched(browser: Browser, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "Lamp guide.md"
    file.write_text(sample.GUIDE, encoding="utf-8")
    async with console_page(browser, client.base_url) as console:
        await console.open("/files")
        await console.page.locator("input[type=file]").set_input_files(file)
        await console.page.get_by_role("link", name="Lamp guide.md").click()
        await expect(console.page.locator(".preview pre")).to_contain_text("warranty of three years")
        await console.open("/stores")
        await console.page.get_by_label("Name of the store").fill("Manuals")
        await console.page.get_by_role("button", name="New store").click()
        await expect(console.page.get_by_role("heading", name="Manuals", level=1)).to_be_visible()
        await console.page.locator("input[type=file]").set_input_files(file)
        await expect(console.page.locator("td et-status")).to_have_text("Completed")
        await console.page.get_by_label("Search this store").fill("How long is the warranty?")
        await console.page.get_by_role("button", name="Search", exact=True).click()
        passage = console.page.locator(".passage").first
        await expect(passage).to_contain_text("Lamp guide.md")
        await expect(passage.locator("mark").first).to_have_text("warranty", ignore_case=True)
        assert "query=How" in console.page.url


async def test_a_proof_is_downloaded_and_verified(
    browser: Browser, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = await thread_with(client, "Secret words")
    async with console_page(browser, client.base_url) as console:
        await console.open(f"/audit?stream={thread['id']}&type=message.added")
        await console.page.locator(".feed-row", has_text="message.added").click()
        await expect(console.page.locator("et-audit-event et-code")).to_contain_text("Secret words")
        async with console.page.expect_download() as download:
            await console.page.get_by_role("button", name="Proof with content").click()
        proof = tmp_path / "event.tlog-proof"
        await (await download.value).save_as(proof)
    key = (tmp_path / "audit" / "log.vkey").read_text().strip()
    assert verify_proof.main([str(proof), "--key", key]) == 0
    assert "Secret words" in capsys.readouterr().out


async def test_new_events_come_to_the_audit_by_themselves(browser: Browser, client: Client) -> None:
    await thread_with(client, "Hello")
    async with console_page(browser, client.base_url) as console:
        await console.open("/audit?type=thread.created")
        await expect(console.page.locator(".feed-row")).to_have_count(1)
        await thread_with(client, "Hello again")
        await console.page.get_by_role("button", name="1 new event").click()
        await expect(console.page.locator(".feed-row")).to_have_count(2)


async def test_a_key_is_shown_once_and_revoked(browser: Browser, client: Client) -> None:
    async with console_page(browser, client.base_url) as console:
        await console.open("/keys")
        await console.page.get_by_label("New project").fill("Research")
        await console.page.get_by_role("button", name="Create", exact=True).click()
        await console.page.wait_for_url("**project=proj_*")
        await console.page.get_by_label("Name", exact=True).fill("ci")
        await console.page.get_by_label("Scope").select_option("read")
        await console.page.get_by_role("button", name="Create the key").click()
        secret = await console.text_of("et-secret code")
        assert (await client.call("GET", "/models", headers={"Authorization": f"Bearer {secret}"})).status == 200
        await console.page.get_by_role("button", name="I have copied it").click()
        await expect(console.page.locator("et-secret")).to_have_count(0)
        await console.page.get_by_role("button", name="Revoke").click()
        await console.page.locator("dialog").get_by_role("button", name="Revoke").click()
        await expect(console.page.get_by_role("heading", name="No key yet")).to_be_visible()


async def test_a_webhook_is_made_tested_and_disabled(browser: Browser, client: Client) -> None:
    async with console_page(browser, client.base_url) as console:
        await console.open("/webhooks")
        await console.page.get_by_label("Address").fill("https://example.invalid/hook")
        await console.page.get_by_role("button", name="Create").click()
        assert (await console.text_of("et-secret code")).startswith("whsec_")
        await console.page.get_by_role("button", name="Send a test").click()
        await expect(console.page.locator("et-webhook-endpoint")).to_contain_text("Not accepted")
        await console.page.get_by_role("button", name="Disable").click()
        await expect(console.page.locator("et-webhook-endpoint et-status")).to_have_text("Disabled")


async def test_a_viewer_sees_no_control_that_would_fail(browser: Browser, client: Client, pool: Pool) -> None:
    await upload(client, b"text")
    async with (
        await as_key(client, pool, scope="read") as reader,
        console_page(browser, client.base_url, key=reader.headers["Authorization"].removeprefix("Bearer ")) as console,
    ):
        await expect(console.page.locator(".side a.item")).to_have_text(
            ["Playground", "Assistants", "Files and stores", "Overview", "Threads", "Webhooks"]
        )
        await console.open("/files")
        await expect(console.page.get_by_role("link", name="a.txt")).to_be_visible()
        await expect(console.page.locator("et-upload-area")).to_have_count(0)
        await console.page.get_by_role("link", name="a.txt").click()
        await expect(console.page.get_by_role("button", name="Download")).to_be_visible()
        await expect(console.page.get_by_role("button", name="Delete")).to_have_count(0)


async def test_health_names_the_part_with_a_problem(browser: Browser, client: Client) -> None:
    async with console_page(browser, client.base_url) as console:
        await console.open("/health")
        part = console.page.locator(".tile", has_text="code interpreter")
        await expect(part).to_contain_text("EVERTHREAD_CODE_INTERPRETER")
        await expect(part.locator(".badge")).to_have_text("Degraded")


async def test_threads_are_searched_by_words_and_the_search_is_saved(browser: Browser, client: Client) -> None:
    wanted = await thread_with(client, "The parcel with the zebra arrives tomorrow")
    await thread_with(client, "Another conversation")
    async with console_page(browser, client.base_url) as console:
        await console.open("/threads")
        await expect(console.page.locator(".row-link")).to_have_count(2)
        async with asyncio.timeout(STEP_MS / 1000):  # the index follows the log
            while not (await client.get("/threads", query="zebras"))["data"]:
                await asyncio.sleep(POLL)
        await console.page.get_by_label("Search", exact=True).fill("zebras")
        row = console.page.locator(".row-link")
        await expect(row).to_have_count(1)
        await expect(row).to_have_attribute("href", f"/console/threads/{wanted['id']}")
        assert "query=zebras" in console.page.url
        await console.page.get_by_text("Saved views").click()
        await console.page.get_by_label("Name of the view").fill("Zebras")
        await console.page.get_by_role("button", name="Save this view").click()
        await console.page.get_by_label("Last run").select_option("failed")
        await expect(console.page.get_by_text("No thread matches")).to_be_visible()
        await console.page.get_by_role("button", name="Clear").click()
        await expect(row).to_have_count(2)
        await console.page.keyboard.press("Control+k")
        await console.page.keyboard.type("Another")
        await console.page.keyboard.press("Enter")
        await expect(row).to_have_count(1)
        await expect(row).to_contain_text("Another conversation")


async def test_a_verification_is_watched_and_names_what_was_changed(
    browser: Browser, client: Client, pool: Pool
) -> None:
    thread = await thread_with(client, "Hello")
    async with console_page(browser, client.base_url) as console:
        await console.open("/audit")
        await console.page.get_by_role("button", name="Verification").click()
        await console.page.get_by_role("button", name="Verify now").click()
        await expect(console.page.locator(".outcome.good")).to_contain_text("No faults")
        await pool.execute("UPDATE threads SET has_own_store = true WHERE thread_id = $1", thread["id"])
        await console.page.get_by_role("button", name="Verify now").click()
        await expect(console.page.locator(".outcome.bad")).to_have_text("1 fault found")
        await expect(console.page.locator("et-verification td a")).to_have_text(thread["id"])
    _, key = await make_key(pool, scope="audit")
    async with console_page(browser, client.base_url, key=key) as console:
        await console.open("/audit?view=verification")
        await expect(console.page.get_by_text("Sign in with the scope admin")).to_be_visible()
        await expect(console.page.get_by_role("button", name="Verify now")).to_have_count(0)


async def test_the_erasure_of_a_thread_is_shown_and_saved(browser: Browser, client: Client, tmp_path: Path) -> None:
    thread = await thread_with(client, "Hello")
    await client.delete(f"/threads/{thread['id']}")
    async with console_page(browser, client.base_url) as console:
        await console.open("/audit?view=erasure")
        await console.page.get_by_label("Id of the object").fill(thread["id"])
        await console.page.get_by_role("button", name="Show", exact=True).click()
        await expect(console.page.locator(".outcome")).to_contain_text("of its events can be read")
        assert f"stream={thread['id']}" in console.page.url
        async with console.page.expect_download() as saved:
            await console.page.get_by_role("button", name="Save the proof").click()
        file = tmp_path / "proof.json"
        await (await saved.value).save_as(file)
        proof = json.loads(file.read_text(encoding="utf-8"))
        assert proof["events"][-1]["type"] == "thread.deleted"
        await console.open("/audit?view=erasure&stream=thread_nothing")
        await expect(console.page.get_by_text("The log has no object 'thread_nothing'.")).to_be_visible()


async def test_a_run_is_rated_and_a_note_is_left(browser: Browser, client: Client, model: ScriptedServer) -> None:
    model.script(says("Fine."))
    thread = await thread_with(client, "Hello")
    run = await sample.run_to_end(client, thread, await assistant_with(client, name="Guide"))
    async with console_page(browser, client.base_url) as console:
        await console.open(f"/threads/{thread['id']}/runs/{run['id']}")
        reviews = console.page.locator("et-reviews")
        await reviews.get_by_role("button", name="Bad").click()
        await reviews.get_by_role("textbox").fill("It cites <b>the wrong page</b>.")
        await reviews.get_by_role("button", name="Add").click()
        await expect(reviews.locator(".review")).to_contain_text("It cites <b>the wrong page</b>.")
        await console.page.reload()
        await expect(reviews.locator(".review")).to_contain_text("Bad")
    [review] = (await client.get(f"/threads/{thread['id']}/runs/{run['id']}/reviews"))["data"]
    assert (review["rating"], review["note"]) == ("bad", "It cites <b>the wrong page</b>.")
