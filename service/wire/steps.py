"""Renders run steps and their tool calls for v2 (docs/behaviour.md, "Object bodies", "Deltas")."""

from __future__ import annotations

from typing import Any

from events.objects import Json, Step
from service.partial_json import code_of
from service.wire.query import SEARCH_RESULT_CONTENT
from service.wire.render import render_last_error, render_usage


def render_step(step: Step, *, streamed: bool = False, include: frozenset[str] = frozenset()) -> Json:
    """Shows `expires_at`, as the original sends it, and `expired_at`, as its OpenAPI document has it."""
    open_still = step.status == "in_progress"
    return {
        "id": step.id,
        "object": "thread.run.step",
        "created_at": step.created_at,
        "run_id": step.run_id,
        "assistant_id": step.assistant_id,
        "thread_id": step.thread_id,
        "type": step.type,
        "status": step.status,
        "cancelled_at": step.ended_at if step.status == "cancelled" else None,
        "completed_at": step.ended_at if step.status == "completed" else None,
        "expires_at": step.expires_at if streamed or open_still else None,
        "expired_at": step.ended_at if step.status == "expired" else None,
        "failed_at": step.ended_at if step.status == "failed" else None,
        "last_error": render_last_error(step.last_error),
        "step_details": render_step_details(step, include),
        "usage": render_usage(step.usage),
    }


def render_step_details(step: Step, include: frozenset[str]) -> Json:
    if step.type == "message_creation":
        return {"type": "message_creation", "message_creation": {"message_id": step.message_id}}
    return {"type": "tool_calls", "tool_calls": [_render_call(step, call, include) for call in step.tool_calls]}


def _render_call(step: Step, call: Json, include: frozenset[str]) -> Json:
    known: Json = step.results.get(call["id"], {}).get("shown", {})
    match call["type"]:
        case "code_interpreter":
            outputs = [render_output(one) for one in known.get("outputs", ())]
            details: Json = {"input": code_of(call["function"]["arguments"]), "outputs": outputs}
        case "file_search":
            details = render_file_search(call.get("file_search"))
            details["results"] = [
                _render_result(one, SEARCH_RESULT_CONTENT in include) for one in known.get("results", ())
            ]
        case _:
            function: dict[str, Any] = call["function"]
            details = {"name": function["name"], "arguments": function["arguments"]}
            details["output"] = step.outputs.get(call["id"])
    return {"id": call["id"], "type": call["type"], call["type"]: details}


def render_output(output: Json) -> Json:
    """An output of code_interpreter, with its keys in the order of the recordings."""
    if output["type"] == "image":
        return {"type": "image", "image": {"file_id": output["image"]["file_id"]}}
    return {"type": "logs", "logs": output["logs"]}


def render_file_search(search: Json | None) -> Json:
    """A file_search without results."""
    ranking = (search or {}).get("ranking_options", {})
    options = {name: ranking[name] for name in ("ranker", "score_threshold") if name in ranking}
    return {"ranking_options": options, "results": []}


def render_new_call(id: str, type: str, name: str, search: Json | None) -> Json:
    """A tool call in its first delta. The fields that later deltas extend are empty."""
    match type:
        case "code_interpreter":
            details: Json = {"input": "", "outputs": []}
        case "file_search":
            details = render_file_search(search)
        case _:
            details = {"name": name, "arguments": "", "output": None}
    return {"id": id, "type": type, type: details}


def _render_result(found: Json, content: bool) -> Json:
    rendered = {name: found[name] for name in ("file_id", "file_name", "score", "attributes")}
    texts = [{"type": one["type"], "text": one["text"]} for one in found["content"]] if content else []
    return {**rendered, "content": texts} if content else rendered
