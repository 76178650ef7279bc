"""Pages of other origins: refused unless their origin is on the list."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from service.errors import StartupError
from service.settings import Settings
from tests.client import KEY, Client
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, thread_with

PAGE = "https://app.example.com"
ORIGIN = "Access-Control-Allow-Origin"
# Headers that the official clients send from a browser (older ones send User-Agent, which Firefox and Safari allow),
# one of our own headers, and those of OpenTelemetry.
SENT = (
    "authorization,content-type,openai-beta,user-agent,x-stainless-arch,x-stainless-retry-count,everthread-busy"
    ",traceparent,tracestate,baggage"
)


async def preflight(client: Client, origin: str, path: str = "/assistants", headers: str = SENT) -> Mapping[str, str]:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    async with client.session.options(client.base_url + path, headers=asked) as response:
        assert response.status == 204
        return dict(response.headers)


async def test_preflights_need_no_key_and_name_what_is_allowed(start_server: StartServer) -> None:
    async with start_server(cors_origins=f"{PAGE}, http://localhost:3000") as client:
        answer = await preflight(client, PAGE, headers=SENT + ",cookie, x-evil\tword")
        assert answer[ORIGIN] == PAGE
        assert "POST" in answer["Access-Control-Allow-Methods"]
        assert answer["Access-Control-Allow-Headers"].replace(" ", "") == SENT
        assert "Access-Control-Allow-Credentials" not in answer
        assert (await preflight(client, "http://localhost:3000"))[ORIGIN] == "http://localhost:3000"
        assert (await preflight(client, PAGE, "/chat/completions"))[ORIGIN] == PAGE
        foreign = await preflight(client, "https://evil.example.com")
        assert not [name for name in foreign if name.startswith("Access-Control")]
        assert foreign["Vary"] == "Origin"


async def test_answers_errors_and_streams_are_shared(start_server: StartServer) -> None:
    async with start_server(cors_origins=PAGE) as client:
        client.headers["Origin"] = PAGE
        answer = await client.call("GET", "/assistants")
        assert answer.headers[ORIGIN] == PAGE
        assert "openai-poll-after-ms" in answer.headers["Access-Control-Expose-Headers"]
        refused = await client.call("GET", "/assistants", headers={"Authorization": "Bearer wrong"})
        assert (refused.status, refused.headers[ORIGIN]) == (401, PAGE)
        foreign = await client.call("GET", "/assistants", headers={"Origin": "https://evil.example.com"})
        assert ORIGIN not in foreign.headers
        assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
        url = f"{client.base_url}/threads/{thread['id']}/runs"
        body = {"assistant_id": assistant["id"], "stream": True}
        async with client.session.post(url, json=body, headers=client.headers) as response:
            assert response.headers[ORIGIN] == PAGE
            assert response.headers["X-Accel-Buffering"] == "no"
            assert client.checked_frames(await response.read())[-1].event == "done"


async def test_every_origin(start_server: StartServer) -> None:
    async with start_server(cors_origins="*") as client:
        assert (await preflight(client, PAGE))[ORIGIN] == "*"


async def test_off_by_default(client: Client) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Authorization": f"Bearer {KEY}"}
    async with client.session.options(client.base_url + "/assistants", headers=asked) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, POST")
        assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("wrong", ["app.example.com", "https://app.example.com/path", "https://", "ftp://x.org"])
def test_an_origin_is_a_scheme_and_a_host(wrong: str) -> None:
    with pytest.raises(StartupError, match=r"--cors-origins: .*https://app\.example\.com"):
        Settings.load(cors_origins=wrong)
