"""Refusals of real model servers, for `ScriptedServer.check`: each returns an error for a request that it would refuse.

The texts are those of the servers' source or of public reports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.scripted_replies import Reply, errors

Json = dict[str, Any]
Check = Callable[[Json], Reply | None]


def refuses_field(name: str, body: object, status: int = 400) -> Check:
    """Returns a server that refuses a top-level field with this body."""
    return lambda request: errors(status, body) if name in request else None


def openai_reasoning(request: Json) -> Reply | None:
    """OpenAI's reasoning models."""
    for name in ("max_tokens", "temperature", "top_p", "parallel_tool_calls"):
        if name in request:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            if name == "max_tokens":
                message += " Use 'max_completion_tokens' instead."
            return errors(400, _openai(message, name, "unsupported_parameter"))
    return None


def claude(request: Json) -> Reply | None:
    """Claude 4.1 and newer behind Bedrock or a compatible gateway."""
    if {"temperature", "top_p"} <= set(request):
        text = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        return errors(400, _openai(text))
    return None


def mistral(request: Json) -> Reply | None:
    """Mistral's API: extra fields, ids of tool calls, and the order of roles."""
    for name in ("stream_options", "parallel_tool_calls", "reasoning_effort", "max_completion_tokens"):
        if name in request:
            detail = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
            return errors(422, {"object": "error", "message": {"detail": [{**detail, "input": request[name]}]}})
    ids = [call["id"] for message in request["messages"] for call in message.get("tool_calls") or ()]
    ids += [message["tool_call_id"] for message in request["messages"] if message["role"] == "tool"]
    for call_id in ids:
        if not re.fullmatch(r"[a-zA-Z0-9]{9}", call_id):
            text = f"Tool call id was {call_id} but must be a-z, A-Z, 0-9, with a length of 9."
            return errors(400, {"object": "error", "message": text, "type": "invalid_function_call", "code": "3280"})
    if request["messages"][-1]["role"] == "assistant":
        text = "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
        return errors(
            400, {"object": "error", "message": text, "type": "invalid_request_message_order", "code": "3230"}
        )
    return None


def alternating_template(status: int = 400, text: str = "") -> Check:
    """Returns a server whose chat template demands that roles alternate, as Gemma's and Mistral's do."""
    words = text or (
        "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
    )

    def check(request: Json) -> Reply | None:
        roles = [message["role"] for message in request["messages"]]
        talk = roles[1:] if roles and roles[0] == "system" else roles
        wrong = any(role != ("user", "assistant")[at % 2] for at, role in enumerate(talk) if "tool" not in talk)
        return errors(status, _openai(words)) if wrong or "system" in talk else None

    return check


def gemma_template(request: Json) -> Reply | None:
    """llama.cpp with Gemma's template, which knows no system role."""
    if any(message["role"] == "system" for message in request["messages"]):
        return errors(500, {"error": {"code": 500, "message": "System role not supported", "type": "server_error"}})
    return alternating_template(500, "Jinja Exception: Conversation roles must alternate user/assistant/...")(request)


def null_content(request: Json) -> Reply | None:
    """A server of pydantic models whose content must be a text."""
    for at, message in enumerate(request["messages"]):
        if message["content"] is None:
            detail = {"loc": ["body", "messages", at, "content"], "msg": "Input should be a valid string"}
            return errors(422, {"detail": [{"type": "string_type", **detail, "input": None}]})
    return None


def both(*checks: Check) -> Check:
    """Returns a server that refuses whatever one of these refuses."""
    return lambda request: next((reply for check in checks if (reply := check(request)) is not None), None)


def openrouter(raw: str) -> Mapping[str, Any]:
    """Returns OpenRouter's error body, with that of the provider behind it."""
    return {
        "error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw, "provider_name": "P"}}
    }


def _openai(message: str, param: str | None = None, code: str | None = None) -> Mapping[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


# Bodies that refuse the field {name}, by server.
FIELD_REFUSALS: Sequence[tuple[str, int, Any]] = (
    ("openai", 400, _openai("Unrecognized request argument supplied: {name}")),
    ("openai param", 400, _openai("Bad request.", "{name}")),
    ("openai value", 400, _openai("Unsupported value: '{name}' does not support this with this model.", "{name}")),
    (
        "vllm",
        400,
        {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', '{name}')}]", "code": 400},
    ),
    ("fastapi", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "{name}"], "msg": "Extra inputs"}]}),
    ("groq", 400, _openai("property '{name}' is unsupported")),
    ("gemini", 400, [{"error": {"code": 400, "message": 'Unknown name "{name}": Cannot find field.', "status": "X"}}]),
    ("serde", 422, "Failed to deserialize the JSON body into the target type: unknown field `{name}` at line 1"),
    ("quoted", 400, _openai('Provider returned error: {"detail":[{"loc":["body","{name}"],"msg":"Extra inputs"}]}')),
    ("plain", 400, "{name}: Extra inputs are not permitted"),
    ("litellm", 400, _openai("UnsupportedParamsError: m does not support parameters: ['{name}'], for model=m.")),
    ("list", 400, {"errors": [{"field": "{name}", "reason": "unsupported"}]}),
    ("advice", 400, _openai("Unknown field {name}. Supported fields: model, messages, tools, stream.")),
)
# Servers of FIELD_REFUSALS whose words may mean the value of the field.
VAGUE = frozenset({"openai param", "openai value", "list"})
