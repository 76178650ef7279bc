"""Files over HTTP, with a real server, a real Postgres, and bytes in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from service.database import Pool
from tests.client import V1, Client
from tests.clock import CLOCK
from tests.http.files import END, blobs_in, field, file_head, form, send, upload
from tests.http.files import download as downloaded

PURPOSES = "['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals']"


async def test_the_life_of_a_file(client: Client, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    made = await upload(client, content, "user_data", kind="application/pdf")
    assert made == {
        "object": "file",
        "id": made["id"],
        "purpose": "user_data",
        "filename": "a.txt",
        "bytes": 3_000_000,
        "created_at": made["created_at"],
        "expires_at": None,
        "status": "processed",
        "status_details": None,
    }
    assert await client.get(f"/files/{made['id']}") == made
    status, got, headers = await downloaded(client, made["id"])
    assert (status, got, headers["Content-Type"]) == (200, content, "application/pdf")
    assert headers["x-request-id"].startswith("req_")
    assert blobs_in(tmp_path) == [made["id"]]
    assert await client.delete(f"/files/{made['id']}") == {"object": "file", "deleted": True, "id": made["id"]}
    assert blobs_in(tmp_path) == []
    message = f"No such File object: {made['id']}"
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        gone = await client.call(method, f"/files/{made['id']}{path}")
        assert gone.error == (404, message, "id", None)
        assert gone.body["detail"] == {"message": message, "code": None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ('filename="Grüße 世界 🎉.txt"', "Grüße 世界 🎉.txt"),
        ("filename=\"a.txt\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt", "Grüße.txt"),
        ('filename="a%22b.txt"', 'a"b.txt'),
        ('filename="../../etc/passwd"', "passwd"),
        ('filename="C:\\\\work\\\\a.txt"', "a.txt"),
    ],
)
async def test_any_name(client: Client, sent: str, name: str) -> None:
    made = await upload(client, filename=sent)
    assert made["filename"] == name
    _, _, headers = await downloaded(client, made["id"])
    plain, extended = headers["Content-Disposition"].removeprefix("attachment; ").split("; ")
    assert unquote(extended.removeprefix("filename*=UTF-8''")) == name
    assert plain.isascii()
    assert plain.count('"') == 2


async def test_fields_may_come_after_the_file(client: Client) -> None:
    fields = [("purpose", "batch"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3600")]
    for after in (False, True):
        answer = await send(client, form(fields=fields, after=after))
        assert answer.status == 200
        assert answer.body["expires_at"] == answer.body["created_at"] + 3600


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            [("purpose", "world_domination")],
            (f"'world_domination' is not one of {PURPOSES} - 'purpose'", "purpose", None),
        ),
        (
            [("purpose", "assistants_output")],
            (f"'assistants_output' is not one of {PURPOSES} - 'purpose'", "purpose", None),
        ),
        ([], ("'purpose' is a required property", "purpose", None)),
        (
            [("purpose", "batch"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3599")],
            (
                "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got 3599"
                " instead.",
                "expires_after.seconds",
                "integer_below_min_value",
            ),
        ),
        (
            [("purpose", "batch"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "soon")],
            (
                "Invalid type for 'expires_after.seconds': expected an integer, but got a string instead.",
                "expires_after.seconds",
                "invalid_type",
            ),
        ),
        (
            [("purpose", "batch"), ("expires_after[seconds]", "3600")],
            (
                "Missing required parameter: 'expires_after.anchor'.",
                "expires_after.anchor",
                "missing_required_parameter",
            ),
        ),
        ([("purpose", "batch"), ("colour", "red")], ("Unknown parameter: 'colour'.", "colour", "unknown_parameter")),
        (
            [("purpose", "ba\x00tch")],
            ("Invalid 'purpose': NUL characters and lone surrogates are not allowed.", "purpose", "invalid_value"),
        ),
        (
            [("purpose", "batch"), ("purpose", "assistants")],
            ("'purpose' was given more than once", "purpose", None),
        ),
    ],
)
async def test_what_is_refused_leaves_nothing(
    client: Client, tmp_path: Path, fields: Any, error: Any, after: bool
) -> None:
    answer = await send(client, form(fields=fields, after=after))
    assert answer.error == (400, *error)
    assert answer.body["detail"] == {"message": error[0], "code": error[2]}
    assert blobs_in(tmp_path) == []
    assert (await client.get("/files"))["data"] == []


UNREAD = "The form could not be read: "
NO_END = f"{UNREAD}it ends early, or its parts are not divided by the boundary that its Content-Type names."
BAD_LINE = f"{UNREAD}a line of it is too long, or the headers of a part are not well-formed."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (form(b""), "The file is empty."),
        (field("purpose", "assistants") + END, "'file' is a required property"),
        (b"no form at all", NO_END),
        (b"", NO_END),
        (file_head() + b"half", NO_END),
        (form()[:-10], NO_END),
        (b"".join(field(f"f{number}", "x") for number in range(30)) + END, "The form has more than 20 fields."),
        (field("purpose", "x" * 5000) + END, "Invalid 'purpose': longer than 4096 bytes."),
        (
            field("purpose", b"\xff\xfe") + END,
            "Invalid 'purpose': NUL characters and lone surrogates are not allowed.",
        ),
        (form(filename='filename="a\x00b"'), BAD_LINE),
        (
            form(filename=f'filename="{"x" * 2000}"'),
            "Invalid 'filename': a name of 1 to 1024 characters is needed.",
        ),
        (file_head() + b"x\r\n" + form(), "'file' was given more than once"),
        (
            form(b"aGk=", kind="text/plain\r\nContent-Transfer-Encoding: base64"),
            "Content-Transfer-Encoding 'base64' of 'file' is not supported: send the bytes as they are.",
        ),
        (
            form(kind="text/plain\r\nContent-Encoding: gzip"),
            "Content-Encoding 'gzip' of 'file' is not supported: send the bytes as they are.",
        ),
    ],
)
async def test_forms_that_are_none(client: Client, tmp_path: Path, body: bytes, message: str) -> None:
    answer = await send(client, body)
    assert answer.error[:2] == (400, message)
    assert answer.body["detail"] == {"message": message, "code": answer.error[3]}
    assert blobs_in(tmp_path) == []


@pytest.mark.parametrize(
    "body",
    [form(filename='filename=""'), form() * 2, form(kind="text/plain\r\nContent-Transfer-Encoding: Binary")],
    ids=["no name", "an epilogue", "bytes as they are"],
)
async def test_forms_that_are_odd_but_clear(client: Client, body: bytes) -> None:
    assert (await send(client, body)).status == 200


@pytest.mark.parametrize("kind", ["multipart/form-data", f"multipart/form-data; boundary={'x' * 71}"])
async def test_a_form_without_a_boundary(client: Client, kind: str) -> None:
    answer = await send(client, form(), **{"Content-Type": kind})
    assert answer.error[:2] == (400, "The form's Content-Type must name a boundary of 1 to 70 characters.")


async def test_a_body_that_is_no_form(client: Client) -> None:
    assert (await client.call("POST", "/files", {"purpose": "assistants"})).error[0] == 400


async def test_lists(client: Client) -> None:
    made = [await upload(client, purpose=purpose) for purpose in ("assistants", "vision", "assistants", "batch")]
    ids = [file["id"] for file in made]
    whole = await client.get("/files")
    assert whole == {
        "object": "list",
        "data": made[::-1],
        "first_id": ids[3],
        "last_id": ids[0],
        "has_more": False,
    }
    page = await client.get("/files", limit="2", order="asc", after=ids[0])
    assert ([file["id"] for file in page["data"]], page["has_more"]) == (ids[1:3], True)
    assert [file["id"] for file in (await client.get("/files", purpose="assistants"))["data"]] == [ids[2], ids[0]]
    await client.delete(f"/files/{ids[1]}")
    after = await client.get("/files", order="asc", after=ids[1])
    assert [file["id"] for file in after["data"]] == ids[2:]
    for limit in ("0", "10001"):
        assert (await client.call("GET", "/files", limit=limit)).error[0] == 400
    assert (await client.call("GET", "/files", after="file-none")).error[0] == 404


async def test_v1_lists_all_at_once(client: Client) -> None:
    made = [await upload(client) for _ in range(3)]
    old = await client.call("GET", "/files", headers={"OpenAI-Beta": V1}, limit="1")
    assert list(old.body) == ["object", "data"]
    assert [file["id"] for file in old.body["data"]] == [file["id"] for file in made[::-1]]
    assert not {"expires_at", "status_details"} & set(old.body["data"][0])


async def test_a_file_is_gone_when_it_expires(client: Client, pool: Pool, tmp_path: Path) -> None:
    fields = [("purpose", "assistants"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3600")]
    made = (await send(client, form(fields=fields))).body
    kept = await upload(client)
    await pool.execute("UPDATE files SET expires_at = $2 WHERE file_id = $1", made["id"], int(CLOCK.now().timestamp()))
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        assert (await client.call(method, f"/files/{made['id']}{path}")).error[0] == 404
    assert [file["id"] for file in (await client.get("/files"))["data"]] == [kept["id"]]
    refused = await client.call(
        "POST", "/threads", {"tool_resources": {"code_interpreter": {"file_ids": [made["id"]]}}}
    )
    assert refused.error == (404, f"No such File object: {made['id']}", "id", None)
