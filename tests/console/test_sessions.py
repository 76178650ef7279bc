"""Signing in to the console: cookies, links, their ends, and requests of other pages."""

from __future__ import annotations

import asyncio

import pytest

from events import event_log
from events.actors import actor_text
from service.cli import admin
from service.console.sessions import LINK_S, SESSION_S
from service.database import Pool
from tests.client import KEY, Client
from tests.clock import WallClock
from tests.conftest import StartServer
from tests.console.browser_requests import OWN, browser_of
from tests.http.keys import make_key, writer


async def session_events(pool: Pool, session_id: str) -> list[tuple[str, str]]:
    async with pool.acquire() as db:
        return [(entry.event.type, actor_text(entry.actor)) for entry in await event_log.read(db, session_id)]


async def test_a_key_begins_a_session_and_its_person_ends_it(client: Client, pool: Pool) -> None:
    async with browser_of(client) as browser:
        assert await browser.status("GET", "/console/session") == 401
        status, session, headers = await browser.sign_in(api_key=KEY)
        assert (status, session["scope"], session["project_id"]) == (200, "admin", "proj_default")
        cookie = headers["Set-Cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", f"Max-Age={SESSION_S}", "Path=/"))
        assert KEY not in cookie
        assert await browser.status("GET", "/v1/threads") == 200
        assert (await browser.answer("GET", "/console/session"))[1]["id"] == session["id"]
        async with browser_of(client) as thief:
            thief.take_cookies(browser)
            assert await thief.status("GET", "/v1/threads") == 200
            assert await browser.status("DELETE", "/console/session") == 200
            assert await thief.status("GET", "/v1/threads") == 401
        assert await browser.status("GET", "/v1/threads") == 401
    assert await session_events(pool, session["id"]) == [
        ("session.created", "key:default"),
        ("session.ended", "key:default"),
    ]


async def test_a_wrong_key_begins_none_and_is_counted(client: Client) -> None:
    async with browser_of(client) as browser:
        status, body, headers = await browser.sign_in(api_key="sk-wrong")
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert "Set-Cookie" not in headers
        assert (await browser.sign_in())[0] == 400
        assert (await browser.sign_in(api_key=KEY, link="x"))[0] == 400
        statuses = {(await browser.sign_in(api_key="sk-wrong"))[0] for _ in range(80)}
        assert statuses == {401, 429}
        assert (await browser.sign_in(api_key=KEY))[0] == 200


async def test_a_session_ends_with_its_time(start_server: StartServer, wall: WallClock) -> None:
    async with start_server() as client, browser_of(client) as browser:
        await browser.sign_in(api_key=KEY)
        wall.skip(SESSION_S - 5)
        assert await browser.status("GET", "/v1/threads") == 200
        wall.skip(10)
        assert await browser.status("GET", "/v1/threads") == 401


async def test_a_session_ends_with_its_key(client: Client, pool: Pool) -> None:
    key_id, key = await make_key(pool)
    async with browser_of(client) as browser:
        await browser.sign_in(api_key=key)
        assert await browser.status("GET", "/v1/threads") == 200
        await admin.revoke_key(writer(pool), key_id)
        async with asyncio.timeout(5):
            while await browser.status("GET", "/v1/threads") != 401:
                await asyncio.sleep(0.05)


async def test_a_session_has_the_scope_of_its_key_and_reads_of_auditors_are_events(client: Client, pool: Pool) -> None:
    _, key = await make_key(pool, scope="audit")
    async with browser_of(client) as browser:
        await browser.sign_in(api_key=key)
        assert await browser.status("GET", "/v1/threads") == 403
        assert await browser.status("GET", "/v1/audit/events") == 200
    read = await pool.fetchval("SELECT count(*) FROM events WHERE type = 'audit.read'")
    assert read >= 1


async def test_a_session_is_good_at_every_process(start_server: StartServer) -> None:
    async with (
        start_server() as one,
        start_server() as two,
        browser_of(one) as first,
        browser_of(two) as second,
    ):
        await first.sign_in(api_key=KEY)
        [cookie] = first.cookies.values()
        port = two.base_url.rpartition(":")[2].partition("/")[0]
        headers = {**OWN, "Cookie": f"everthread_session_{port}={cookie}"}
        assert await second.status("GET", "/v1/threads", headers=headers) == 200
        await first.status("DELETE", "/console/session")
        async with asyncio.timeout(5):
            while await second.status("GET", "/v1/threads", headers=headers) != 401:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"Everthread-Console": None},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_requests_of_other_pages_do_nothing(client: Client, change: dict[str, str | None]) -> None:
    """CSRF: the browser adds the cookie, and the request is refused."""
    headers = {name: value for name, value in {**OWN, **change}.items() if value is not None}
    async with browser_of(client) as browser:
        await browser.sign_in(api_key=KEY)
        for method, path in (("POST", "/v1/threads"), ("GET", "/v1/threads"), ("DELETE", "/console/session")):
            status, body, _ = await browser.answer(method, path, headers=headers)
            assert (status, body["error"]["code"]) == (403, "not_from_console")
        assert (await browser.answer("GET", "/v1/threads"))[1]["data"] == []


async def test_a_host_that_was_rebound_gets_nothing(client: Client) -> None:
    headers = {**OWN, "Host": "evil.example"}
    async with browser_of(client) as browser:
        await browser.sign_in(api_key=KEY)
        for path in ("/console", "/console/threads", "/console/session", "/v1/threads"):
            status, body, _ = await browser.answer("GET", path, headers=headers)
            assert (status, body["error"]["code"]) == (421, "unknown_host")
        status = await browser.status("POST", "/console/session", headers=headers, json={"api_key": KEY})
        assert status == 421
        # A program's key is a matter of the API, not of the console.
        assert await browser.status("GET", "/v1/threads", headers={**headers, "Authorization": f"Bearer {KEY}"}) == 200


async def test_the_host_of_the_public_url_is_known(start_server: StartServer) -> None:
    async with start_server(public_url="https://everthread.example") as client, browser_of(client) as browser:
        headers = {**OWN, "Host": "everthread.example"}
        assert await browser.status("GET", "/console", headers=headers) == 200
        _, _, answered = await browser.answer("POST", "/console/session", headers=headers, json={"api_key": KEY})
        assert "Secure" in answered["Set-Cookie"]


async def test_forged_cookies_are_refused(client: Client) -> None:
    async with browser_of(client) as browser:
        await browser.sign_in(api_key=KEY)
        [(name, cookie)] = browser.cookies.items()
    async with browser_of(client) as browser:
        for forged in (cookie[:-3] + "AAA", cookie.replace("sess_", "sess_x", 1), "", "a:b.c.d", "x" * 5000):
            assert await browser.status("GET", "/v1/threads", headers={**OWN, "Cookie": f"{name}={forged}"}) == 401


async def test_a_console_that_is_off_is_not_there(start_server: StartServer) -> None:
    async with start_server(console="off") as client, browser_of(client) as browser:
        for path in ("/console", "/console/session"):
            assert await browser.status("GET", path) == 404
        assert (await browser.sign_in(api_key=KEY))[0] == 404
        assert await browser.status("GET", "/", headers={"Accept": "text/html"}) == 401


async def test_a_link_works_once_and_for_ten_minutes(start_server: StartServer, wall: WallClock) -> None:
    urls: list[str] = []
    async with start_server(on_console=urls.append) as client, browser_of(client) as browser:
        [url] = urls
        page, _, link = url.partition("#sign-in=")
        assert page == f"{browser.origin}/console"
        assert (await browser.sign_in(link=link))[0] == 200
        assert await browser.status("GET", "/v1/threads") == 200
        async with browser_of(client) as second:
            status, body, _ = await second.sign_in(link=link)
            assert (status, body["error"]["code"]) == (400, "link_used")
            for wrong in (link[:-3] + "AAA", "link_x:a.b.c", "x"):
                assert (await second.sign_in(link=wrong))[0] == 401
    async with start_server(on_console=urls.append) as client, browser_of(client) as browser:
        link = urls[-1].partition("#sign-in=")[2]
        wall.skip(LINK_S + 1)
        status, body, _ = await browser.sign_in(link=link)
        assert (status, body["error"]["code"]) == (401, "invalid_link")


async def test_a_link_is_for_this_machine_alone(start_server: StartServer) -> None:
    urls: list[str] = []
    async with start_server(on_console=urls.append) as client, browser_of(client) as browser:
        link = urls[0].partition("#sign-in=")[2]
        headers = {**OWN, "X-Forwarded-For": "203.0.113.9"}
        assert await browser.status("POST", "/console/session", headers=headers, json={"link": link}) == 401
        assert (await browser.sign_in(link=link))[0] == 200
