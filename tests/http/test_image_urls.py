"""The URLs that images of messages may have: schemes, and public hosts unless a setting allows private ones."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import Client
from tests.conftest import StartServer
from tests.scripted import ScriptedServer, says

PUBLIC = "https://example.com/a.png"
DATA = "data:image/png;base64,iVBORw0KGgo="
LOCAL = "http://127.0.0.1:9/a.png"
FORMAT = "Expected a valid URL, but got a value with an invalid format."
PRIVATE = "Expected a URL with a public host, but got a private one."


def message(*urls: str) -> dict[str, Any]:
    images = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
    return {"role": "user", "content": [{"type": "text", "text": "Look"}, *images]}


def refusal(param: str, why: str) -> tuple[int, str, str, str]:
    return 400, f"Invalid '{param}'. {why}", param, "invalid_value"


async def refused(client: Client, path: str, body: Any) -> tuple[int, str, str | None, str | None]:
    return (await client.call("POST", path, body)).error


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", FORMAT),
        ("data:text/html,<b>", FORMAT),
        ("x", FORMAT),
        (LOCAL, PRIVATE),
        ("http://127.0.0.1./", PRIVATE),
        ("http://[::ffff:10.0.0.1]/", PRIVATE),
        ("http://ollama:11434/", PRIVATE),
    ],
)
async def test_every_way_to_a_message_refuses(client: Client, url: str, why: str) -> None:
    thread = await client.post("/threads")
    assistant = await client.post("/assistants", {"model": "gpt-4o"})
    run = {"assistant_id": assistant["id"]}
    bad = message(PUBLIC, url)
    part = "content[2].image_url.url"
    path = f"/threads/{thread['id']}"
    assert await refused(client, f"{path}/messages", bad) == refusal(part, why)
    assert await refused(client, "/threads", {"messages": [message(), bad]}) == refusal(f"messages[1].{part}", why)
    more = {**run, "additional_messages": [bad]}
    assert await refused(client, f"{path}/runs", more) == refusal(f"additional_messages[0].{part}", why)
    both = {**run, "thread": {"messages": [bad]}}
    assert await refused(client, "/threads/runs", both) == refusal(f"thread.messages[0].{part}", why)
    assert (await client.get(f"{path}/messages"))["data"] == []


async def test_a_setting_allows_private_hosts(start_server: StartServer, model: ScriptedServer) -> None:
    async with start_server(images_allow_private=True) as client:
        thread = await client.post("/threads", {"messages": [message(PUBLIC, DATA, LOCAL)]})
        assistant = await client.post("/assistants", {"model": "gpt-4o"})
        assert await urls_of_prompt(client, model, thread["id"], assistant["id"]) == [PUBLIC, DATA, LOCAL]
        assert await refused(client, f"/threads/{thread['id']}/messages", message("file:///x")) == refusal(
            "content[1].image_url.url", FORMAT
        )
    async with start_server() as client:
        assert await urls_of_prompt(client, model, thread["id"], assistant["id"]) == [PUBLIC, DATA]
        assert "[image_url: not shown, its URL is not allowed]" in str(model.requests[-1])


async def urls_of_prompt(client: Client, model: ScriptedServer, thread_id: str, assistant_id: str) -> list[str]:
    """Makes a run, and returns the URLs of the images that the model server got."""
    model.script(says("Seen."))
    await client.settled(await client.post(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id}))
    sent = (await model.next_request())["messages"]
    return [part["image_url"]["url"] for part in sent[0]["content"] if part["type"] == "image_url"]
