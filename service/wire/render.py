"""Renders objects for v2. Keys are in the order of the recordings (docs/behaviour.md, "Object bodies")."""

from __future__ import annotations

from events.objects import Assistant, Json, Message, Run, Thread
from service.wire.api import DeletedObject

# The original shows this in some places as tool_resources of a thread or run that has none.
NO_FILES: Json = {"code_interpreter": {"file_ids": []}}
# The resources of an assistant's hosted tool that has none, by the type of the tool.
_NO_RESOURCES: Json = {**NO_FILES, "file_search": {"vector_store_ids": []}}


def render_usage(counts: dict[str, int] | None) -> Json | None:
    """`prompt_token_details` (not prompt_tokens_details) is the spelling of the original."""
    if counts is None:
        return None
    return {
        "prompt_tokens": counts["prompt_tokens"],
        "completion_tokens": counts["completion_tokens"],
        "total_tokens": counts["prompt_tokens"] + counts["completion_tokens"],
        "prompt_token_details": {"cached_tokens": counts["cached_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": counts["reasoning_tokens"]},
    }


def render_assistant(assistant: Assistant) -> Json:
    return {
        "id": assistant.id,
        "object": "assistant",
        "created_at": assistant.created_at,
        "name": assistant.name,
        "description": assistant.description,
        "model": assistant.model,
        "instructions": assistant.instructions,
        "tools": assistant.tools,
        "top_p": assistant.top_p,
        "temperature": assistant.temperature,
        "reasoning_effort": assistant.reasoning_effort,
        "tool_resources": _assistant_resources(assistant),
        "metadata": assistant.metadata,
        "response_format": assistant.response_format,
    }


def _assistant_resources(assistant: Assistant) -> Json:
    """Returns the resources with an empty list for each hosted tool that has none, as recorded.

    Runs and threads are not recorded so (docs/behaviour.md, "Object bodies").
    """
    visible = _visible_resources(assistant.tool_resources)
    hosted = [tool["type"] for tool in assistant.tools if tool["type"] in _NO_RESOURCES]
    return {**visible, **{type: _NO_RESOURCES[type] for type in hosted if type not in visible}}


def _visible_resources(resources: Json) -> Json:
    """Returns the resources with one vector store: a second one is that of v1's files, which clients are not shown."""
    search = resources.get("file_search", {})
    if len(search.get("vector_store_ids", ())) < 2:
        return resources
    return {**resources, "file_search": {**search, "vector_store_ids": search["vector_store_ids"][:1]}}


def render_thread(thread: Thread, *, resources: bool = False) -> Json:
    """`resources`: shows an empty list of files if nothing is attached, as streams and GET do and POST does not."""
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": thread.created_at,
        "metadata": thread.metadata,
        "tool_resources": thread.tool_resources or (NO_FILES if resources else {}),
    }


def render_message(message: Message, *, streamed: bool = False, quotes: bool = False) -> Json:
    """`streamed`: with the status, which stream events show. REST shows it only if the message is not complete.

    The original shows no status over REST. Without it, a client could not distinguish the message of an attempt that
    broke off from the complete one (docs/behaviour.md, "Object bodies").
    `quotes`: with the quotes of citations.
    """
    ends = render_message_status(message) if streamed or message.status != "completed" else {}
    return {
        "id": message.id,
        "object": "thread.message",
        "created_at": message.created_at,
        "assistant_id": message.assistant_id,
        "thread_id": message.thread_id,
        "run_id": message.run_id,
        **ends,
        "role": message.role,
        "content": message.content if quotes else [render_part(one) for one in message.content],
        "attachments": message.attachments,
        "metadata": message.metadata,
    }


def render_part(part: Json) -> Json:
    """Returns the part without the quotes of citations, which v1 shows and v2 hides."""
    if part["type"] != "text" or not part["text"]["annotations"]:
        return part
    annotations = [_without_quote(one) for one in part["text"]["annotations"]]
    return {"type": "text", "text": {"value": part["text"]["value"], "annotations": annotations}}


def _without_quote(annotation: Json) -> Json:
    if annotation["type"] != "file_citation":
        return annotation
    return {**annotation, "file_citation": {"file_id": annotation["file_citation"]["file_id"]}}


def render_delta_part(part: Json) -> Json:
    """Returns the part with an empty quote in each citation, as deltas of v2 have it."""
    if part["type"] != "text":
        return part
    annotations = [
        {**one, "file_citation": {"file_id": one["file_citation"]["file_id"], "quote": ""}}
        if one["type"] == "file_citation"
        else one
        for one in part["text"]["annotations"]
    ]
    return {"type": "text", "text": {"value": part["text"]["value"], "annotations": annotations}}


def render_modified_message(message: Message, *, quotes: bool = False) -> Json:
    """Shows `file_ids`, as the original does after a modification, and `attachments`, which v2's SDKs expect."""
    rendered = render_message(message, quotes=quotes)
    metadata = rendered.pop("metadata")
    return {**rendered, "file_ids": [one["file_id"] for one in message.attachments], "metadata": metadata}


def render_message_status(message: Message) -> Json:
    reason = message.incomplete_reason
    return {
        "status": message.status,
        "incomplete_details": {"reason": reason} if reason else None,
        "incomplete_at": message.ended_at if message.status == "incomplete" else None,
        "completed_at": message.ended_at if message.status == "completed" else None,
    }


def render_run(run: Run, *, streamed: bool = False) -> Json:
    reason = run.incomplete_reason
    return {
        "id": run.id,
        "object": "thread.run",
        "created_at": run.created_at,
        "assistant_id": run.assistant_id,
        "thread_id": run.thread_id,
        "status": run.status,
        "started_at": run.started_at,
        "expires_at": run.expires_at,
        "cancelled_at": run.cancelled_at,
        "failed_at": run.failed_at,
        "completed_at": run.completed_at,
        "required_action": render_required_action(run),
        "last_error": render_last_error(run.last_error),
        "model": run.model,
        "instructions": run.instructions,
        "tools": run.tools,
        "tool_resources": {**(NO_FILES if streamed else {}), **_visible_resources(run.tool_resources)},
        "metadata": run.metadata,
        "temperature": run.temperature,
        "top_p": run.top_p,
        "reasoning_effort": run.reasoning_effort,
        "max_completion_tokens": run.max_completion_tokens,
        "max_prompt_tokens": run.max_prompt_tokens,
        "truncation_strategy": run.truncation_strategy,
        "incomplete_details": {"reason": reason} if reason else None,
        "usage": render_usage(run.usage),
        "response_format": run.response_format,
        "tool_choice": run.tool_choice,
        "parallel_tool_calls": run.parallel_tool_calls,
    }


def render_required_action(run: Run) -> Json | None:
    if run.required_calls is None:
        return None
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["function"]["name"], "arguments": call["function"]["arguments"]},
        }
        for call in run.required_calls
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def render_last_error(error: Json | None) -> Json | None:
    return {"code": error["code"], "message": error["message"]} if error else None


def render_list(items: list[Json], more: bool) -> Json:
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": more,
    }


def render_deleted(object: DeletedObject, id: str) -> Json:
    return {"id": id, "object": f"{object}.deleted", "deleted": True}
