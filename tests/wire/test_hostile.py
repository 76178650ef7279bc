"""Requests that no SDK sends: text that cannot be stored, invalid JSON, huge numbers, deep or endless bodies."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

from service.database import Pool
from service.http.route import LARGE_BODY
from tests.client import V1, V2, Client
from tests.scripted import ScriptedServer
from tests.wire.sample_objects import BadRequest, find_failures, make_world
from tests.wire.test_limits import ids_of

UNFIT = "Invalid '{}': NUL characters and lone surrogates are not allowed."
NUL, SURROGATE = rb"a\u0000b", rb"\ud800"
INCLUDE = "step_details.tool_calls[*].file_search.results[*].content"
STEPS = "GET /threads/{done}/runs/{done_run}/steps"


def with_unstorable_text(request: str, body: bytes, param: str, beta: str = V2) -> list[BadRequest]:
    """Returns the value twice: with a NUL and with a lone surrogate in place of `@`."""
    return [
        BadRequest(
            request, body.replace(b"@", NUL), message=UNFIT.format(param), param=param, code="invalid_value", beta=beta
        ),
        BadRequest(request, body.replace(b"@", SURROGATE), beta=beta, **NOT_JSON),
    ]


NOT_JSON: dict[str, Any] = {"message": "We could not parse the JSON body of your request.…"}
BODIES = [
    *with_unstorable_text("POST /assistants", b'{"model": "@"}', "model"),
    *with_unstorable_text("POST /assistants", b'{"model": "m", "name": "@"}', "name", V1),
    *with_unstorable_text("POST /threads", b'{"metadata": {"k": "@"}}', "metadata.k"),
    *with_unstorable_text("POST /threads", b'{"metadata": {"@": "v"}}', "metadata"),
    *with_unstorable_text("POST /threads", b'{"messages": [{"role": "user", "content": "@"}]}', "messages[0].content"),
    *with_unstorable_text("POST /threads/{thread}/messages", b'{"role": "user", "content": "@"}', "content"),
    *with_unstorable_text("POST /threads/{thread}/runs", b'{"assistant_id": "@"}', "assistant_id"),
    *with_unstorable_text(
        "POST /assistants",
        b'{"model": "m", "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": ["@"]}}}]}',
        "tools[0].function.parameters.a[0]",
    ),
    *with_unstorable_text(
        "POST /threads/{thread}/runs/run_no/submit_tool_outputs",
        b'{"tool_outputs": [{"tool_call_id": "c", "output": "@"}]}',
        "tool_outputs[0].output",
    ),
    *(
        BadRequest("POST /assistants", raw, **NOT_JSON)
        for raw in (b"{", b"model=gpt-4o", b'{"model": "m",}', b"\xff\xfe", b'{"model": NaN}', b'{"model": "\xc3"}')
    ),
    *(
        BadRequest("POST /assistants", raw, message="The request body must be a JSON object.")
        for raw in (b"[]", b'"model"', b"7", b"true")
    ),
    BadRequest("POST /assistants", b"null", param="model", code="missing_required_parameter"),
    BadRequest("POST /assistants", b"   ", param="model", code="missing_required_parameter"),
    BadRequest("POST /assistants", b"{" + b'"model":1,' * 10_000 + b'"model":2}', param="model", code="invalid_type"),
    BadRequest(
        "POST /assistants",
        b'{"model": "m", "temperature": 1' + b"0" * 300 + b"}",
        param="temperature",
        code="decimal_above_max_value",
    ),
    BadRequest(
        "POST /threads/{thread}/runs",
        b'{"assistant_id": "{assistant}", "max_prompt_tokens": 99999999999999999999999}',
        param="max_prompt_tokens",
        code="invalid_type",
    ),
    *(
        BadRequest(
            "POST /assistants",
            b'{"model": "m", "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": [%s]}}}]}'
            % one,
            message="Invalid 'tools[0].function.parameters': integers beyond 64 bits cannot be kept",
            param="tools[0].function.parameters",
            code="invalid_value",
        )
        for one in (b"18446744073709551616", b"-9223372036854775809", b"9" * 300)
    ),
    BadRequest(
        "POST /assistants",
        b'{"model": "m", "tools": [' + b"[" * 1_000 + b"1" + b"]" * 1_000 + b"]}",
        param="tools[0]",
        code="invalid_type",
    ),
    *(
        BadRequest(
            request,
            b'{"assistant_id": "a", "model": "m", "tools": [{"type": "function", "function": {"name": "f", '
            b'"parameters": ' + b'{"a":' * 1_000 + b"1" + b"}" * 1_000 + b"}}]}",
            param=param,
            code=code,
        )
        for request, param, code in (
            ("POST /threads/{thread}/runs", "tools[0].function.parameters", "invalid_value"),
            ("POST /threads/runs", "tools[0].function.parameters", "invalid_value"),
        )
    ),
    BadRequest("POST /assistants", b"[" * 100_000, **NOT_JSON),
    BadRequest(
        "POST /threads",
        b'{"metadata": ' + b"[" * 900 + b"]" * 900 + b"}",
        param="metadata",
        code="invalid_type",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
async def test_bodies(client: Client, pool: Pool, beta: str) -> None:
    ids = await ids_of(client)
    cases = [_with_ids(bad, ids, beta) for bad in BODIES]
    assert await find_failures(client, pool, cases, ids) == []


def _with_ids(bad: BadRequest, ids: dict[str, str], beta: str) -> BadRequest:
    body = bad.body.replace(b"{assistant}", ids["assistant"].encode())
    return BadRequest(bad.request, body, bad.status, bad.message, bad.param, bad.code, beta)


async def test_integers_are_kept_as_they_are(client: Client) -> None:
    """Integers of up to 64 bits, both those that orjson parses exactly and those that need the second parser."""
    numbers = [2**64 - 1, -(2**63), 2**53 + 1, 10**18, 1e300, 0.1]
    parameters = {"type": "object", "properties": {}, "numbers": numbers, "text": "12345678901234567890123"}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    made = await client.post("/assistants", {"model": "m", "tools": [tool]})
    assert made["tools"][0]["function"]["parameters"] == parameters
    assert [type(one) for one in made["tools"][0]["function"]["parameters"]["numbers"]] == [int] * 4 + [float] * 2
    stored = await client.call(
        "POST", "/vector_stores/vs_no/files", b'{"file_id": "file-no", "attributes": {"a": 99999999999999999999999}}'
    )
    assert stored.error[:2] == (400, "Invalid 'attributes.a': integers beyond 64 bits cannot be kept")


# No object has an id that Postgres refuses.
PATHS = [
    BadRequest("GET /assistants/a%00b", status=404),
    BadRequest("DELETE /assistants/a%00b", status=404),
    BadRequest("POST /assistants/%00", {"name": "n"}, status=404),
    BadRequest("GET /threads/%00", status=404),
    BadRequest("POST /threads/%00/messages", {"role": "user", "content": "Hi"}, status=404),
    BadRequest("POST /threads/%00/runs", {"assistant_id": "{assistant}"}, status=404),
    BadRequest("GET /threads/{done}/messages/%00", status=404),
    BadRequest("GET /threads/{done}/messages/%ED%A0%80", status=404),
    BadRequest("GET /threads/%FF", status=404),
    BadRequest("POST /threads/{done}/messages/%00", {"metadata": {}}, status=404),
    BadRequest("DELETE /threads/{done}/messages/%00", status=404),
    BadRequest("GET /threads/{done}/runs/%00", status=404),
    BadRequest("POST /threads/{done}/runs/%00/cancel", status=404),
    BadRequest("GET /threads/{done}/runs/{done_run}/steps/%00", status=404),
    BadRequest("GET /assistants/" + "a" * 6_000, status=404),
    BadRequest("GET /assistants/..%2F..%2Fthreads", status=404),
]
LISTS = ("/assistants", "/threads/{done}/messages", "/threads/{done}/runs", "/threads/{done}/runs/{done_run}/steps")
QUERIES = [
    *(
        BadRequest(f"GET {path}?{query}", param=param, code=code)
        for path in LISTS
        for query, param, code in (
            ("limit=0", "limit", "integer_below_min_value"),
            ("limit=-1", "limit", "integer_below_min_value"),
            ("limit=101", "limit", "integer_above_max_value"),
            ("limit=x", "limit", "invalid_type"),
            ("limit=1.5", "limit", "invalid_type"),
            ("limit=%D9%A1", "limit", "invalid_type"),
            ("limit=" + "9" * 400, "limit", "invalid_type"),
            ("order=up", "order", "invalid_value"),
            ("order=DESC", "order", "invalid_value"),
            ("order=%00", "order", "invalid_value"),
            ("after=%00", "after", "invalid_value"),
            ("before=a%00", "before", "invalid_value"),
            ("after=%ED%A0%80&limit=0", "limit", "integer_below_min_value"),
        )
    ),
    BadRequest("GET /threads/{done}/messages?run_id=%00", param="run_id", code="invalid_value"),
    *(
        BadRequest(
            f"{request}?{query}",
            body,
            message=f"Invalid value: '{value}'. Supported values are: '{INCLUDE}'.",
            param="include",
            code="invalid_value",
        )
        for request, body in (
            (STEPS, None),
            (f"{STEPS}/{{step}}", None),
            ("POST /threads/{done}/runs", {"assistant_id": "{assistant}"}),
        )
        for query, value in (
            ("include[]=content", "content"),
            ("include%5B%5D=content%5B*%5D", "content[*]"),
            ("include=x", "x"),
            (f"include[]={INCLUDE}&include[]=%2A", "*"),
        )
    ),
]


@pytest.mark.slow
async def test_paths_and_queries(client: Client, model: ScriptedServer, pool: Pool) -> None:
    ids = await make_world(client, model)
    assert await find_failures(client, pool, PATHS + QUERIES, ids) == []


async def test_include_however_it_is_encoded(client: Client, model: ScriptedServer) -> None:
    ids = await make_world(client, model)
    path = f"/threads/{ids['done']}/runs/{ids['done_run']}/steps"
    plain = await client.get(path)
    for name in ("include[]", "include%5B%5D", "include"):
        for value in (INCLUDE, INCLUDE.replace("[*]", "%5B%2A%5D")):
            assert await client.get(f"{path}?{name}={value}") == plain


@pytest.mark.slow
async def test_a_body_over_the_limit(client: Client, pool: Pool) -> None:
    body = orjson.dumps({"model": "m", "name": "n" * LARGE_BODY.bytes})
    said = f"Maximum request body size {LARGE_BODY.bytes} exceeded…"
    assert await find_failures(client, pool, [BadRequest("POST /assistants", body, 413, said)], {}) == []


async def test_compressed_bodies_are_refused(client: Client, pool: Pool) -> None:
    raw = b'{"model": "m"}'
    said = "Content-Encoding 'gzip' is not supported: send the body as it is."
    cases = [
        BadRequest("POST /assistants", body, 415, said, headers={"Content-Encoding": "gzip"})
        for body in (raw, gzip.compress(raw))
    ]
    assert await find_failures(client, pool, cases, {}) == []
    whole = await client.call("POST", "/assistants", raw, headers={"Content-Encoding": "identity"})
    assert whole.status == 200
