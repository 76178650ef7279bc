"""The transcript of a thread, as JSON and as Markdown."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from service.http import transcript
from tests.client import V1, Client
from tests.http.files import upload
from tests.http.helpers import run_of, thread_with
from tests.scripted import ScriptedServer, says

HOSTILE = (
    "```\n# Not a heading\n<script>alert(1)</script>\n![x](https://evil.example/beacon.png)\n````\n"
    "[link](javascript:alert(1))\n~~~\n"
)


async def markdown(client: Client, thread_id: str) -> str:
    async with client.session.get(
        f"{client.base_url}/threads/{thread_id}/transcript?format=markdown", headers=client.headers
    ) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/markdown; charset=utf-8"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{thread_id}.md"'
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return await response.text()


def outside_fences(text: str) -> str:
    """Returns the lines of Markdown that are in no fence (CommonMark, "Fenced code blocks")."""
    lines, fence = [], None
    for line in text.split("\n"):
        found = re.match(r"(`{3,})", line)
        if fence is None and found:
            fence = found[1]
        elif fence is not None and re.fullmatch(rf"{fence}`*\s*", line):
            fence = None
        elif fence is None:
            lines.append(line)
    assert fence is None
    return "\n".join(lines)


@pytest.mark.parametrize("beta", [None, V1])
async def test_a_thread_as_json(
    client: Client, model: ScriptedServer, beta: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.headers["OpenAI-Beta"] = beta or client.headers["OpenAI-Beta"]
    monkeypatch.setattr(transcript, "PAGE_MESSAGES", 2)
    model.script(says("Hello!"))
    run = await client.settled(await run_of(client, "Hi"))
    path = f"/threads/{run['thread_id']}"
    for number in range(4):
        await client.post(f"{path}/messages", {"role": "user", "content": f"m{number}"})
    found = await client.get(f"{path}/transcript")
    listed = (await client.get(f"{path}/messages", order="asc", limit="100"))["data"]
    assert found["thread"] == await client.get(path)
    assert [{**message, "file_names": {}} for message in listed] == found["messages"]
    empty = await thread_with(client)
    assert (await client.get(f"/threads/{empty['id']}/transcript"))["messages"] == []


async def test_a_thread_as_markdown(client: Client, model: ScriptedServer) -> None:
    model.script(says("# Hello"))
    run = await client.settled(await run_of(client, "Hi"))
    text = await markdown(client, run["thread_id"])
    assert text.startswith(f"# Thread {run['thread_id']}\n")
    assert re.findall(r"^## (\w+)", text, re.MULTILINE) == ["User", "Assistant"]
    assert "```text\nHi\n```" in text
    assert "```text\n# Hello\n```" in text
    assert run["id"] in text


async def test_texts_and_names_stay_text(client: Client) -> None:
    name = "a`<img src=x onerror=alert(1)>`.txt"
    file = await upload(client, filename=f'filename="{name}"')
    content: Any = {"role": "user", "content": HOSTILE}
    content["attachments"] = [{"file_id": file["id"], "tools": [{"type": "code_interpreter"}]}]
    hostile = {"<b>k</b>": "![x](https://evil.example/y.png)\n# heading"}
    thread = await client.post("/threads", {"messages": [content], "metadata": hostile})
    text = await markdown(client, thread["id"])
    assert HOSTILE in text
    rest = outside_fences(text)
    without_code = re.sub(r"(`+)(?:(?!`).)+?\1(?!`)|``.*?``", "", rest)
    assert "<" not in without_code
    assert "![" not in without_code
    assert [line for line in rest.split("\n") if line.startswith("#")] == [
        f"# Thread {thread['id']}",
        next(line for line in rest.split("\n") if line.startswith("## User, ")),
    ]
    [message] = (await client.get(f"/threads/{thread['id']}/transcript"))["messages"]
    assert message["file_names"] == {file["id"]: name}
    await client.delete(f"/files/{file['id']}")
    [message] = (await client.get(f"/threads/{thread['id']}/transcript"))["messages"]
    assert message["file_names"] == {}


async def test_refusals(client: Client) -> None:
    thread = await thread_with(client, "Hi")
    answer = await client.call("GET", f"/threads/{thread['id']}/transcript", headers=None, format="pdf")
    assert (answer.status, answer.body["error"]["param"]) == (400, "format")
    assert (await client.call("GET", "/threads/thread_none/transcript")).status == 404
    assert orjson.loads(orjson.dumps(answer.body)) == answer.body
