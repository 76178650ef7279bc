"""The tools, the resources of tools and the tool calls of saved objects."""

from __future__ import annotations

from typing import Any

import orjson

from events.objects import Json
from service.imports.saved_values import list_of, object_of, text_of
from service.wire.tools import DEFAULT_RANKER, DEFAULT_THRESHOLD

# The tool that v1 calls retrieval, as v2 shows it.
SEARCH_TOOL: Json = {
    "type": "file_search",
    "file_search": {"ranking_options": {"ranker": DEFAULT_RANKER, "score_threshold": DEFAULT_THRESHOLD}},
}


def to_tools(tools: list[Json]) -> list[Json]:
    """Returns tools in the form of v2. Raises ValueError if one has no known form."""
    found: list[Json] = []
    for tool in tools:
        match tool.get("type"):
            case "retrieval":
                found.append(SEARCH_TOOL)
            case "code_interpreter" | "file_search":
                found.append(tool)
            case "function" if isinstance(tool.get("function"), dict) and isinstance(tool["function"].get("name"), str):
                found.append(tool)
            case other:
                raise ValueError(f"it has a tool of the type {other!r}")
    return found


def to_resources(resources: Json | None, file_ids: list[str] | None) -> Json:
    """Returns the resources, and the `file_ids` of v1 as files of code_interpreter."""
    found: Json = {}
    for tool, name in (("code_interpreter", "file_ids"), ("file_search", "vector_store_ids")):
        named = (resources or {}).get(tool)
        if isinstance(named, dict):
            found[tool] = {name: [id for id in list_of(named, name) if isinstance(id, str)]}
    if file_ids and "code_interpreter" not in found:
        found["code_interpreter"] = {"file_ids": file_ids}
    return found


def load_tool_call(call: Any) -> tuple[Json, str | None, Json | None]:
    """Returns a call as a step stores it, the output of its function, and the result of its hosted tool."""
    match call:
        case {"id": str(id), "type": "function", "function": {"name": str(name)} as called}:
            function = {"name": name, "arguments": text_of(called, "arguments", "{}")}
            return {"id": id, "type": "function", "function": function}, text_of(called, "output", None), None
        case {"id": str(id), "type": "code_interpreter"}:
            details = object_of(call, "code_interpreter")
            function = {"name": "code_interpreter", "arguments": _code_arguments(text_of(details, "input", "") or "")}
            outputs = [one for one in list_of(details, "outputs") if _is_output(one)]
            logs = "\n".join(one["logs"] for one in outputs if one["type"] == "logs")
            result: Json = {"shown": {"outputs": outputs}, "output": logs}
            return {"id": id, "type": "code_interpreter", "function": function}, None, result
        case {"id": str(id), "type": "file_search" | "retrieval" as kind}:
            details = object_of(call, kind)
            function = {"name": "file_search", "arguments": "{}"}
            search = {name: details[name] for name in ("ranking_options",) if isinstance(details.get(name), dict)}
            results = [_result(one) for one in list_of(details, "results") if isinstance(one, dict)]
            result = {"shown": {"results": results}}
            return {"id": id, "type": "file_search", "function": function, "file_search": search}, None, result
        case _:
            raise ValueError("it has a tool call without a known form")


def _code_arguments(code: str) -> str:
    return orjson.dumps({"code": code}).decode()


def _is_output(output: Any) -> bool:
    match output:
        case {"type": "logs", "logs": str()} | {"type": "image", "image": {"file_id": str()}}:
            return True
        case _:
            return False


def _result(result: Json) -> Json:
    content = [one for one in list_of(result, "content") if isinstance(one, dict) and isinstance(one.get("text"), str)]
    return {
        "file_id": text_of(result, "file_id", ""),
        "file_name": text_of(result, "file_name", ""),
        "score": result["score"] if isinstance(result.get("score"), int | float) else 0.0,
        "attributes": object_of(result, "attributes"),
        "content": [{"type": "text", "text": one["text"]} for one in content],
    }
