"""Refusals in the words and the shapes of more servers, and errors that refuse nothing although they name fields."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest

from service.model.base import ChatRequest, ModelError
from service.model.message_forms import NO_IMAGE, SIGNATURE
from service.model.schema_keywords import keywords_in, without_keywords
from tests.model.conftest import REQUEST, Caller, failure
from tests.model.test_real_servers import USER, calls_with, last_request, output_of, refuses
from tests.model.test_refusals import EVERYTHING, FIELDS
from tests.scripted import ScriptedServer, errors

Json = dict[str, Any]
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
PICTURE = ChatRequest("asked", [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}])
HISTORY = ChatRequest("asked", [USER, calls_with(None, "x"), output_of("x"), USER])


def error(text: str) -> Json:
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}}


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("reasoning_effort", 400, error('"gemma3:4b" does not support thinking')),
        ("reasoning_effort", 400, error('think value "low" is not supported for this model')),
        ("temperature", 400, error("`temperature` may only be set to 1 when thinking is enabled.")),
        ("top_p", 400, error("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")),
        ("temperature", 403, error("temperature is not supported in your plan")),
        ("temperature", 400, error("Setting temperature is prohibited for o-series models")),
        ("temperature", 400, error("This model has fixed temperature; omit the parameter `temperature`")),
        (
            "parallel_tool_calls",
            400,
            {"title": "One or more validation errors occurred.", "errors": {"$.parallel_tool_calls": ["not a member"]}},
        ),
        ("top_p", 400, {"status": 400, "errors": {"TopP": ["The field TopP is not supported here."]}}),
        ("parallel_tool_calls", 405, error("parallel_tool_calls is not supported")),
        ("parallel_tool_calls", 415, {"detail": "Unsupported parameter: parallel_tool_calls"}),
        ("stream_options", 400, {"message": ["property stream_options should not exist"], "error": "Bad Request"}),
        ("stream_options", 400, {"stream_options": ["This field is not allowed."]}),
        ("parallel_tool_calls", 422, {"errors": {"parallel_tool_calls": ["is not permitted"]}}),
        (
            "parallel_tool_calls",
            400,
            {"error": {"name": "ZodError", "issues": [{"code": "unrecognized_keys", "keys": ["parallel_tool_calls"]}]}},
        ),
        (
            "stream_options",
            400,
            {
                "errors": [
                    {
                        "message": "must NOT have additional properties",
                        "params": {"additionalProperty": "stream_options"},
                    }
                ]
            },
        ),
        (
            "parallel_tool_calls",
            400,
            {"message": '{"external_model_error":{"message":"parallel_tool_calls: Extra inputs are not permitted"}}'},
        ),
    ],
)
async def test_words_and_shapes_that_refuse_a_field(
    server: ScriptedServer, caller: Caller, name: str, status: int, body: Any
) -> None:
    server.check = refuses(lambda request: name in request, body, status)
    sent = await last_request(server, caller, EVERYTHING)
    assert set(FIELDS) - {name} <= set(sent)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "Function calling with a response mime type: 'application/json' is unsupported"),
        (500, "Cannot use custom grammar constraints with tools."),
        (400, "json mode cannot be combined with tool/function calling"),
        (400, "You cannot specify response format and function call at the same time"),
        (400, "response_format is not supported with RAG or tools"),
    ],
)
async def test_a_format_beside_tools_is_learned(server: ScriptedServer, caller: Caller, status: int, text: str) -> None:
    server.check = refuses(lambda request: {"response_format", "tools"} <= set(request), error(text), status)
    sent = await last_request(server, caller, EVERYTHING)
    assert '{"type":"object"}' in sent["messages"][0]["content"], "the schema is in the instructions"
    await caller.call(replace(EVERYTHING, tools=(), tool_choice=None, parallel_tool_calls=None))
    assert "response_format" in server.requests[-1]


@pytest.mark.parametrize(
    "text",
    [
        "Range of max_tokens should be [1, 8192]",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        "max_tokens: 20000 > 8192, which is the maximum allowed number of output tokens",
    ],
)
async def test_a_limit_outside_a_range_is_left_out_once(server: ScriptedServer, caller: Caller, text: str) -> None:
    server.check = refuses(lambda request: request.get("max_tokens", 0) > 8192, error(text))
    await caller.call(replace(EVERYTHING, max_completion_tokens=20_000))
    await caller.call(EVERYTHING)
    assert [request.get("max_tokens") for request in server.requests] == [20_000, None, 300]


async def test_top_p_at_temperature_0_is_left_out_once(server: ScriptedServer, caller: Caller) -> None:
    text = "top_p must be 1 when using greedy sampling."
    server.check = refuses(lambda request: request["temperature"] == 0 and "top_p" in request, {"message": text})
    await caller.call(replace(EVERYTHING, temperature=0.0))
    await caller.call(EVERYTHING)
    assert [request.get("top_p") for request in server.requests] == [0.9, None, 0.9]


# Messages.


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "messages[0]: unknown variant `image_url`, expected `text` at line 1 column 91"),
        (404, "No endpoints found that support image input"),
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (400, "Qwen/Qwen3-8B is not a multimodal model"),
        (400, "messages[0].content must be a string"),
        (400, "Invalid content type. image_url is only supported by certain models."),
        (400, 'can only concatenate str (not "list") to str'),
        (400, "Image input modality is not enabled for models/gemma-3-1b-it"),
    ],
)
async def test_a_model_that_sees_no_images(server: ScriptedServer, caller: Caller, status: int, text: str) -> None:
    server.check = refuses(lambda request: isinstance(request["messages"][0]["content"], list), error(text), status)
    sent = await last_request(server, caller, PICTURE)
    assert sent["messages"] == [{"role": "user", "content": f"a\n{NO_IMAGE}"}]


@pytest.mark.parametrize(
    "text",
    [
        "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png'].",
        "Image format is not supported",
        "The model does not support image format webp",
        "Failed to download image: unsupported protocol",
        "Invalid image size",
    ],
)
async def test_a_bad_image_is_an_error_of_the_client(server: ScriptedServer, caller: Caller, text: str) -> None:
    server.script(errors(400, error(text)))
    assert (await failure(caller, PICTURE)).code == "invalid_prompt"
    await caller.call(PICTURE)
    assert server.requests[-1]["messages"] == PICTURE.messages


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ("tool", "messages[2].role: unknown variant `tool`, expected one of `system`, `user`, `assistant` at line 1"),
        ("system", "messages[0].role: unknown variant `system`, expected `user`, `assistant` or `tool` at line 1"),
        ("tool", "Unexpected message role."),
        ("tool", "Unknown role: tool"),
    ],
)
async def test_a_role_that_a_server_does_not_list(server: ScriptedServer, caller: Caller, role: str, text: str) -> None:
    messages = [{"role": "system", "content": "s"}, *HISTORY.messages]
    server.check = refuses(lambda request: any(one["role"] == role for one in request["messages"]), error(text))
    sent = await last_request(server, caller, ChatRequest("asked", messages))
    other = {"tool": "system", "system": "tool"}[role]
    assert other in {one["role"] for one in sent["messages"]}, "the other role stays"


@pytest.mark.parametrize(
    "text",
    [
        "Bedrock doesn't support tool calling without `tools=` param specified. Pass `tools=` param",
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    ],
)
async def test_calls_in_the_history_of_a_run_without_tools(server: ScriptedServer, caller: Caller, text: str) -> None:
    server.check = refuses(
        lambda request: "tools" not in request and any("tool_calls" in one for one in request["messages"]), error(text)
    )
    assert "Output of f" in orjson.dumps((await last_request(server, caller, HISTORY))["messages"]).decode()
    await caller.call(replace(EVERYTHING, messages=HISTORY.messages))
    assert server.requests[-1]["messages"] == HISTORY.messages


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("extra_content", "Function call is missing a thought_signature in functionCall parts."),
        ("extra_content", "function call `default_api:f` in the 2. content block is missing a `thought_signature`."),
        ("reasoning_content", "thinking is enabled but reasoning_content is missing in assistant tool call message"),
        ("reasoning_content", "Missing `reasoning_content` field in the assistant message at message index 1."),
        ("reasoning_content", "The `reasoning_content` in the thinking mode must be passed back to the API."),
    ],
)
async def test_thoughts_that_a_server_misses(server: ScriptedServer, caller: Caller, field: str, text: str) -> None:
    server.check = refuses(lambda request: f'"{field}"'.encode() not in orjson.dumps(request["messages"]), error(text))
    sent = await last_request(server, caller, HISTORY)
    assert len(server.requests) == 3
    message = sent["messages"][1]
    assert message.get("content", "") is None
    if field == "extra_content":
        assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
    else:
        assert message["reasoning_content"]


# Schemas.


async def test_keywords_of_schemas_that_gemini_does_not_know(server: ScriptedServer, caller: Caller) -> None:
    def check(request: Json) -> Any:
        place = "tools[0].function_declarations[0].parameters"
        found = {*keywords_in(request["tools"][0]["function"]["parameters"])} & {"$schema", "additionalProperties"}
        lines = [f"Invalid JSON payload. Unknown name \"{word}\" at '{place}': Cannot find field." for word in found]
        violations = [{"field": place, "description": line} for line in lines]
        body = [{"error": {"code": 400, "message": "\n".join(lines), "details": [{"fieldViolations": violations}]}}]
        return errors(400, body) if found else None

    properties = {"$schema": {"type": "string", "additionalProperties": False}}
    schema = {"$schema": "x", "type": "object", "properties": properties, "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    server.check = check
    request = replace(EVERYTHING, tools=tools, response_format=None)
    await caller.call(request)
    [tool] = server.requests[-1]["tools"]
    expected = {"type": "object", "properties": {"$schema": {"type": "string"}}}
    assert tool["function"]["parameters"] == expected, "the name of a property is no keyword"
    assert set(FIELDS) - {"response_format"} <= set(server.requests[-1])


async def test_strict_in_the_words_of_gemini(server: ScriptedServer, caller: Caller) -> None:
    text = "Invalid JSON payload received. Unknown name \"strict\" at 'tools[0].function': Cannot find field."
    body = [{"error": {"message": text, "details": [{"fieldViolations": [{"field": "tools[0].function"}]}]}}]
    server.check = refuses(lambda request: "strict" in request["tools"][0]["function"], body)
    assert "tools" in await last_request(server, caller, EVERYTHING)


def test_schemas_without_keywords() -> None:
    schema = {
        "type": ["string", "null"],
        "oneOf": [{"const": 1, "title": "t"}],
        "properties": {"title": {"title": "t", "enum": ["title"]}},
        "default": {"title": 1},
    }
    assert set(keywords_in(schema)) == {"type", "oneOf", "const", "title", "default"}
    assert without_keywords(schema, {"type", "oneOf", "const", "title"}) == {
        "type": "string",
        "anyOf": [{"enum": [1]}],
        "properties": {"title": {"enum": ["title"]}},
        "default": {"title": 1},
    }
    assert without_keywords({"type": "string"}, {"type"}) == {"type": "string"}


# Errors that say nothing about fields.


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error("Failed to download image https://example.com/top_p.png: unsupported format")),
        (
            400,
            error("Your input 'send no temperature or top_p' was flagged as potentially violating our usage policy."),
        ),
        (
            400,
            {"error": {"message": "did not match schema: 'top_p' not allowed", "code": "tool_use_failed"}},
        ),
        (400, {"error": {"message": "max_tokens is not supported here", "code": "context_length_exceeded"}}),
        (400, {"error": {"message": "Unsupported top_p", "code": "content_filter"}}),
        (401, error("Incorrect API key provided: unsupported stream_options")),
        (429, error("Rate limit reached: temperature unsupported")),
        (503, error("Model stream_options is overloaded: unsupported")),
        (400, error("User location is not supported for the API use.")),
        (400, error("This model's maximum context length is 8192 tokens. Please reduce the length of the messages.")),
    ],
)
async def test_an_error_for_another_cause_is_not_learned(
    server: ScriptedServer, caller: Caller, status: int, body: Any
) -> None:
    server.script(errors(status, body))
    with suppress(ModelError):
        await caller.call(EVERYTHING)
    await caller.call(EVERYTHING)
    assert set(FIELDS) <= set(server.requests[-1])


async def test_a_call_that_the_model_wrote_badly_is_tried_again(server: ScriptedServer, caller: Caller) -> None:
    body = {"error": {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "x"}}
    server.script(errors(400, body))
    await caller.call(EVERYTHING)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"statusCode": 400, "message": ["a is wrong", "b"], "error": "Bad Request"}, "a is wrong"),
        ({"code": "Client specified an invalid argument", "error": "Model m is wrong"}, "Model m is wrong"),
        ({"error": "Bad Request", "detail": "the detail"}, "the detail"),
    ],
)
async def test_the_cause_is_not_the_name_of_the_status(
    server: ScriptedServer, caller: Caller, body: Any, words: str
) -> None:
    server.script(errors(400, body))
    assert words in (await failure(caller, REQUEST)).message
