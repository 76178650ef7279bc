"""Objects as v2 shows them, keys in the order of the recordings (docs/behaviour.md, "Object bodies")."""

from __future__ import annotations

from events.objects import Assistant, Message, Run, Thread
from service.wire.api import Deleted, Json

# Where the service itself makes a thread's resources visible, it shows this even when nothing is attached.
NO_FILES: Json = {"code_interpreter": {"file_ids": []}}


def usage(counts: dict[str, int] | None) -> Json | None:
    """`prompt_token_details` is spelled so."""
    if counts is None:
        return None
    return {
        "prompt_tokens": counts["prompt_tokens"],
        "completion_tokens": counts["completion_tokens"],
        "total_tokens": counts["prompt_tokens"] + counts["completion_tokens"],
        "prompt_token_details": {"cached_tokens": counts["cached_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": counts["reasoning_tokens"]},
    }


def assistant(shown: Assistant) -> Json:
    return {
        "id": shown.id,
        "object": "assistant",
        "created_at": shown.created_at,
        "name": shown.name,
        "description": shown.description,
        "model": shown.model,
        "instructions": shown.instructions,
        "tools": shown.tools,
        "top_p": shown.top_p,
        "temperature": shown.temperature,
        "reasoning_effort": shown.reasoning_effort,
        "tool_resources": _resources(shown.tool_resources),
        "metadata": shown.metadata,
        "response_format": shown.response_format,
    }


def _resources(held: Json) -> Json:
    """As v2 knows them, with one vector store: behind it may be that of v1's files, which is not the client's."""
    search = held.get("file_search", {})
    if len(search.get("vector_store_ids", ())) < 2:
        return held
    return {**held, "file_search": {**search, "vector_store_ids": search["vector_store_ids"][:1]}}


def thread(shown: Thread, *, resources: bool = False) -> Json:
    """Streams and GET show an empty set of files where nothing is attached; POST answers with nothing."""
    return {
        "id": shown.id,
        "object": "thread",
        "created_at": shown.created_at,
        "metadata": shown.metadata,
        "tool_resources": shown.tool_resources or (NO_FILES if resources else {}),
    }


def message(shown: Message, *, streamed: bool = False) -> Json:
    """Stream events show the status; REST does not."""
    ends = message_status(shown) if streamed else {}
    return {
        "id": shown.id,
        "object": "thread.message",
        "created_at": shown.created_at,
        "assistant_id": shown.assistant_id,
        "thread_id": shown.thread_id,
        "run_id": shown.run_id,
        **ends,
        "role": shown.role,
        "content": [part(one) for one in shown.content],
        "attachments": shown.attachments,
        "metadata": shown.metadata,
    }


def part(shown: Json) -> Json:
    """A stored citation has no quote: v1 alone shows it."""
    if shown["type"] != "text" or not shown["text"]["annotations"]:
        return shown
    annotations = [_without_quote(one) for one in shown["text"]["annotations"]]
    return {"type": "text", "text": {"value": shown["text"]["value"], "annotations": annotations}}


def _without_quote(annotation: Json) -> Json:
    if annotation["type"] != "file_citation":
        return annotation
    return {**annotation, "file_citation": {"file_id": annotation["file_citation"]["file_id"]}}


def delta_part(shown: Json) -> Json:
    """In deltas of v2 a citation's quote is there, and empty."""
    if shown["type"] != "text":
        return shown
    annotations = [
        {**one, "file_citation": {"file_id": one["file_citation"]["file_id"], "quote": ""}}
        if one["type"] == "file_citation"
        else one
        for one in shown["text"]["annotations"]
    ]
    return {"type": "text", "text": {"value": shown["text"]["value"], "annotations": annotations}}


def modified_message(shown: Message) -> Json:
    """The service answers a modification with v1's `file_ids`; v2's document and SDKs want `attachments`: both."""
    rendered = message(shown)
    metadata = rendered.pop("metadata")
    return {**rendered, "file_ids": [one["file_id"] for one in shown.attachments], "metadata": metadata}


def message_status(shown: Message) -> Json:
    reason = shown.incomplete_reason
    return {
        "status": shown.status,
        "incomplete_details": {"reason": reason} if reason else None,
        "incomplete_at": shown.ended_at if shown.status == "incomplete" else None,
        "completed_at": shown.ended_at if shown.status == "completed" else None,
    }


def run(shown: Run, *, streamed: bool = False) -> Json:
    reason = shown.incomplete_reason
    return {
        "id": shown.id,
        "object": "thread.run",
        "created_at": shown.created_at,
        "assistant_id": shown.assistant_id,
        "thread_id": shown.thread_id,
        "status": shown.status,
        "started_at": shown.started_at,
        "expires_at": shown.expires_at,
        "cancelled_at": shown.cancelled_at,
        "failed_at": shown.failed_at,
        "completed_at": shown.completed_at,
        "required_action": required_action(shown),
        "last_error": last_error(shown.last_error),
        "model": shown.model,
        "instructions": shown.instructions,
        "tools": shown.tools,
        "tool_resources": {**(NO_FILES if streamed else {}), **_resources(shown.tool_resources)},
        "metadata": shown.metadata,
        "temperature": shown.temperature,
        "top_p": shown.top_p,
        "reasoning_effort": shown.reasoning_effort,
        "max_completion_tokens": shown.max_completion_tokens,
        "max_prompt_tokens": shown.max_prompt_tokens,
        "truncation_strategy": shown.truncation_strategy,
        "incomplete_details": {"reason": reason} if reason else None,
        "usage": usage(shown.usage),
        "response_format": shown.response_format,
        "tool_choice": shown.tool_choice,
        "parallel_tool_calls": shown.parallel_tool_calls,
    }


def required_action(shown: Run) -> Json | None:
    if shown.required_calls is None:
        return None
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["function"]["name"], "arguments": call["function"]["arguments"]},
        }
        for call in shown.required_calls
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def last_error(error: Json | None) -> Json | None:
    return {"code": error["code"], "message": error["message"]} if error else None


def listing(items: list[Json], more: bool) -> Json:
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": more,
    }


def deleted(kind: Deleted, id: str) -> Json:
    return {"id": id, "object": f"{kind}.deleted", "deleted": True}
