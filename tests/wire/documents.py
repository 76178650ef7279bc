"""The OpenAPI documents as JSON schemas, corrected for the behaviour of the real service (docs/behaviour.md)."""

from __future__ import annotations

from functools import cache, reduce
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

SPEC = Path(__file__).parent / "spec"

# Keys that the document requires and the service does not send: version, schema, keys.
NOT_SENT: list[tuple[str, str, set[str]]] = [
    ("v1", "RunStepObject", {"metadata"}),
    ("v2", "RunStepObject", {"metadata"}),
    ("v1", "CreateRunRequest", {"thread_id"}),
    ("v1", "CreateThreadAndRunRequest", {"thread_id"}),
]
# Properties that are null though the document forbids it: version, schema, property.
NULL: list[tuple[str, str, str]] = [
    ("v1", "RunObject", "instructions"),
    ("v2", "RunObject", "instructions"),
    ("v1", "RunObject", "usage"),
    ("v1", "RunStepObject", "usage"),
    ("v1", "ListMessagesResponse", "first_id"),
    ("v1", "ListMessagesResponse", "last_id"),
    ("v2", "ListMessagesResponse", "first_id"),
    ("v2", "ListMessagesResponse", "last_id"),
    ("v1", "OpenAIFile", "status_details"),  # recorded
    ("v2", "OpenAIFile", "status_details"),
    ("v2", "OpenAIFile", "expires_at"),
    ("v2", "VectorStoreObject", "name"),
    ("v2", "VectorStoreObject", "expires_after"),
]
# Values that the document does not list: version, schema, path to the enum, value. Our server reports a filtered reply
# as such, because a token limit, which the document has, would mislead.
_REASON = ("properties", "incomplete_details", "properties", "reason", "enum")
_PURPOSE = ("properties", "purpose", "enum")
SAID: list[tuple[str, str, tuple[str, ...], str]] = [
    ("v1", "RunObject", _REASON, "content_filter"),
    ("v2", "RunObject", _REASON, "content_filter"),
    # An error of the service lists these purposes. Files are the same in both versions.
    *(("v1", "OpenAIFile", _PURPOSE, purpose) for purpose in ("batch", "batch_output", "user_data", "vision", "evals")),
    ("v2", "OpenAIFile", _PURPOSE, "evals"),
    ("v2", "VectorStoreFileBatchObject", ("properties", "object", "enum"), "vector_store.file_batch"),  # recorded
]
# Token budgets, for which both documents state a minimum of 256: the original accepted and echoed 16 (recorded).
BUDGETS = ("max_prompt_tokens", "max_completion_tokens")
WITH_BUDGETS = ("RunObject", "CreateRunRequest", "CreateThreadAndRunRequest")
# Messages of v2 have no status over REST.
OVER_REST = {"status", "incomplete_details", "completed_at", "incomplete_at"}


@cache
def document(version: str) -> dict[str, Any]:
    """Returns the document as a JSON schema, with the deviations above."""
    loaded = yaml.load((SPEC / f"assistants-{version}.openapi.yaml").read_text(), yaml.CSafeLoader)
    schemas = as_json_schema(loaded["components"]["schemas"])
    for of, name, keys in NOT_SENT:
        if of == version:
            schemas[name]["required"] = [key for key in schemas[name]["required"] if key not in keys]
    for of, name, key in NULL:
        if of == version:
            properties = schemas[name]["properties"]
            properties[key] = {"anyOf": [properties[key], {"type": "null"}]}
    for of, name, path, value in SAID:
        if of == version:
            reduce(_inside, path, schemas[name]).append(value)
    for name in WITH_BUDGETS:
        for budget in BUDGETS:
            schemas[name]["properties"][budget]["anyOf"][0]["minimum"] = 1
    return {"components": {"schemas": schemas}}


def _inside(node: Any, key: str) -> Any:
    """Returns the value of a key, also if the node is a union with null."""
    return node[key] if key in node else node["anyOf"][0][key]


@cache
def _validator(version: str, schema: str, rest: bool) -> Draft202012Validator:
    found = document(version)
    if rest and schema == "MessageObject" and version == "v2":
        schemas = found["components"]["schemas"]
        required = [key for key in schemas[schema]["required"] if key not in OVER_REST]
        found = {"components": {"schemas": {**schemas, schema: {**schemas[schema], "required": required}}}}
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", **found})


def find_problems(version: str, schema: str, value: Any, *, rest: bool = False) -> list[str]:
    """Returns the places at which a value differs from the document."""
    errors = _validator(version, schema, rest).iter_errors(value)
    return [f"{error.json_path}: {error.message[:300]}" for error in errors]


def properties(version: str, schema: str) -> set[str]:
    return set(document(version)["components"]["schemas"][schema]["properties"])


def as_json_schema(node: Any) -> Any:
    """Translates OpenAPI's `nullable`, which both documents use, to JSON schema."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {key: as_json_schema(value) for key, value in node.items() if key not in ("nullable", "example")}
    # {allOf: [{$ref}, {nullable: true}]} makes the whole value nullable.
    parts = node.get("allOf", [])
    inside = any(part == {"nullable": True} for part in parts if isinstance(part, dict))
    if node.get("nullable") is True or inside:
        return {"anyOf": [plain, {"type": "null"}]} if plain else {}
    return plain
