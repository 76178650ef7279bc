"""Deviations of the service from the OpenAPI documents (docs/behaviour.md), in tables of keys and of values.

Errors of the documents themselves, in types and nulls, are in documents.py.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def object_with_keys(**properties: Schema) -> Schema:
    """Returns the schema of an object with exactly these keys."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": ["integer", "null"]}
_STRINGS: Schema = {"type": "array", "items": {"type": "string"}}
_TEMPERATURE: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 2}
_TOP_P: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_EFFORT: Schema = {"$ref": "#/components/schemas/ReasoningEffort"}
_FORMAT: Schema = {"$ref": "#/components/schemas/AssistantsApiResponseFormatOption"}
_ATTRIBUTES: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_RESOURCES: Schema = {
    **object_with_keys(
        code_interpreter=object_with_keys(file_ids=_STRINGS), file_search=object_with_keys(vector_store_ids=_STRINGS)
    ),
    "required": [],
}
_DETAILS: dict[str, Schema] = {
    "prompt_token_details": object_with_keys(cached_tokens=_COUNT),
    "completion_tokens_details": object_with_keys(reasoning_tokens=_COUNT),
}

# Keys that the document does not have, with the schemas of their values: version, schema, keys.
MORE: list[tuple[str, str, dict[str, Schema]]] = [
    ("v1", "RunStepObject", {"expires_at": _SECONDS}),  # on the wire, beside the document's expired_at
    ("v2", "RunStepObject", {"expires_at": _SECONDS}),
    ("v2", "RunObject", {"reasoning_effort": _EFFORT, "tool_resources": _RESOURCES}),  # recorded
    ("v2", "AssistantObject", {"reasoning_effort": _EFFORT}),  # recorded
    ("v2", "MessageObject", {"file_ids": _STRINGS}),  # recorded, in the answer to a modification only
    # requests of v1 set them
    ("v1", "AssistantObject", {"temperature": _TEMPERATURE, "top_p": _TOP_P, "response_format": _FORMAT}),
    ("v2", "FileSearchRankingOptions", {"hybrid_search": {"type": "null"}}),  # recorded
    ("v2", "RunStepDetailsToolCallsFileSearchResultObject", {"attributes": _ATTRIBUTES}),  # recorded
    ("v2", "RunCompletionUsage", _DETAILS),  # recorded
    ("v2", "RunStepCompletionUsage", _DETAILS),  # recorded
    ("v2", "VectorStoreObject", {"description": {"type": ["string", "null"]}}),  # recorded
]
# Keys that are optional in the document, though clients rely on them: versions, schema (and the path in it), keys.
ALWAYS: list[tuple[str, str, set[str]]] = [
    ("v1 v2", "RunStepObject", {"expires_at"}),
    ("v1 v2", "RunObject", {"temperature", "top_p"}),
    ("v2", "RunObject", {"reasoning_effort", "tool_resources"}),
    ("v1 v2", "AssistantObject", {"temperature", "top_p", "response_format"}),
    ("v2", "AssistantObject", {"reasoning_effort", "tool_resources"}),
    *(
        ("v2", f"{schema}/tool_resources/{tool}", {ids})
        for schema in ("AssistantObject", "ThreadObject")
        for tool, ids in (("code_interpreter", "file_ids"), ("file_search", "vector_store_ids"))
    ),
    ("v1 v2", "TruncationObject", {"last_messages"}),
    ("v1 v2", "FunctionObject", {"parameters"}),
    ("v2", "FunctionObject", {"strict"}),
    ("v2", "AssistantToolsFileSearch", {"file_search"}),
    ("v2", "AssistantToolsFileSearch/file_search", {"ranking_options"}),
    ("v2", "FileSearchRankingOptions", {"ranker", "hybrid_search"}),
    ("v2", "RunStepDetailsToolCallsFileSearchObject/file_search", {"ranking_options", "results"}),
    ("v2", "RunStepDetailsToolCallsFileSearchResultObject", {"attributes"}),
    ("v2", "RunCompletionUsage", {*_DETAILS}),
    ("v2", "RunStepCompletionUsage", {*_DETAILS}),
    ("v2", "OpenAIFile", {"expires_at", "status_details"}),
    ("v2", "Upload", {"object"}),
    ("v2", "VectorStoreObject", {"description", "expires_after", "expires_at"}),
]
# Values that neither document has: schema, property, property of that property, value.
VALUES: list[tuple[str, str, str, str]] = [
    # If the filter of the upstream stopped a run's only message, the run reports it. The document has token limits.
    ("RunObject", "incomplete_details", "reason", "content_filter"),
]
