"""Run steps as v2 shows them, with their tool calls (docs/behaviour.md, "Object bodies", "Deltas")."""

from __future__ import annotations

from typing import Any

from events.objects import Step
from service.partial_json import code_of
from service.wire.api import Json
from service.wire.query import CONTENT
from service.wire.render import last_error, usage


def step(shown: Step, *, streamed: bool = False, include: frozenset[str] = frozenset()) -> Json:
    """`expires_at` as the service sends it and `expired_at` as its document has it."""
    open_still = shown.status == "in_progress"
    return {
        "id": shown.id,
        "object": "thread.run.step",
        "created_at": shown.created_at,
        "run_id": shown.run_id,
        "assistant_id": shown.assistant_id,
        "thread_id": shown.thread_id,
        "type": shown.type,
        "status": shown.status,
        "cancelled_at": shown.ended_at if shown.status == "cancelled" else None,
        "completed_at": shown.ended_at if shown.status == "completed" else None,
        "expires_at": shown.expires_at if streamed or open_still else None,
        "expired_at": shown.ended_at if shown.status == "expired" else None,
        "failed_at": shown.ended_at if shown.status == "failed" else None,
        "last_error": last_error(shown.last_error),
        "step_details": step_details(shown, include),
        "usage": usage(shown.usage),
    }


def step_details(shown: Step, include: frozenset[str]) -> Json:
    if shown.type == "message_creation":
        return {"type": "message_creation", "message_creation": {"message_id": shown.message_id}}
    return {"type": "tool_calls", "tool_calls": [_call(shown, call, include) for call in shown.tool_calls]}


def _call(step: Step, call: Json, include: frozenset[str]) -> Json:
    known: Json = step.results.get(call["id"], {}).get("shown", {})
    match call["type"]:
        case "code_interpreter":
            outputs = [output(one) for one in known.get("outputs", ())]
            details: Json = {"input": code_of(call["function"]["arguments"]), "outputs": outputs}
        case "file_search":
            details = searched(call.get("file_search"))
            details["results"] = [_result(one, CONTENT in include) for one in known.get("results", ())]
        case _:
            function: dict[str, Any] = call["function"]
            details = {"name": function["name"], "arguments": function["arguments"]}
            details["output"] = step.outputs.get(call["id"])
    return {"id": call["id"], "type": call["type"], call["type"]: details}


def output(shown: Json) -> Json:
    """An output of code_interpreter, its keys in order."""
    if shown["type"] == "image":
        return {"type": "image", "image": {"file_id": shown["image"]["file_id"]}}
    return {"type": "logs", "logs": shown["logs"]}


def searched(search: Json | None) -> Json:
    """A file_search before its results."""
    ranking = (search or {}).get("ranking_options", {})
    shown = {name: ranking[name] for name in ("ranker", "score_threshold") if name in ranking}
    return {"ranking_options": shown, "results": []}


def begun_call(id: str, kind: str, name: str, search: Json | None) -> Json:
    """A tool call at its beginning, as its first delta shows it: what comes in pieces is empty."""
    match kind:
        case "code_interpreter":
            details: Json = {"input": "", "outputs": []}
        case "file_search":
            details = searched(search)
        case _:
            details = {"name": name, "arguments": "", "output": None}
    return {"id": id, "type": kind, kind: details}


def _result(found: Json, content: bool) -> Json:
    shown = {name: found[name] for name in ("file_id", "file_name", "score", "attributes")}
    texts = [{"type": one["type"], "text": one["text"]} for one in found["content"]] if content else []
    return {**shown, "content": texts} if content else shown
