"""Checks every answer that the tests' client receives against the document of its version.

The documents allow any object to have more keys, and require few. This check allows no other keys and requires all,
except those in deviations.py, so that it notices a key of v2 in v1 and a missing key that clients rely on. Answers that
the original does not have are checked against the server's own document.
"""

from __future__ import annotations

import re
from functools import cache, reduce
from typing import Any

from jsonschema import Draft202012Validator

from tests.wire.deviations import ALWAYS, MORE, VALUES
from tests.wire.documents import OVER_REST, document

_KINDS = {
    "assistant": "AssistantObject",
    "assistant.deleted": "DeleteAssistantResponse",
    "thread": "ThreadObject",
    "thread.deleted": "DeleteThreadResponse",
    "thread.message": "MessageObject",
    "thread.message.delta": "MessageDeltaObject",
    "thread.message.deleted": "DeleteMessageResponse",
    "thread.run": "RunObject",
    "thread.run.step": "RunStepObject",
    "thread.run.step.delta": "RunStepDeltaObject",
    "file": "OpenAIFile",
    "file.deleted": "DeleteFileResponse",
    "assistant.file": "AssistantFileObject",
    "assistant.file.deleted": "DeleteAssistantFileResponse",
    "thread.message.file": "MessageFileObject",
    "upload": "Upload",
    "upload.part": "UploadPart",
    "vector_store": "VectorStoreObject",
    "vector_store.deleted": "DeleteVectorStoreResponse",
    "vector_store.file": "VectorStoreFileObject",
    "vector_store.file.deleted": "DeleteVectorStoreFileResponse",
    "vector_store.file_batch": "VectorStoreFileBatchObject",
    "vector_store.search_results.page": "VectorStoreSearchResultsPage",
    "vector_store.file_content.page": "VectorStoreFileContentResponse",
}
# Schemas of objects whose `object` has another name.
_CALLED = {"file.deleted": "file"}
# The last word of a path (an operation or a collection), and the object in its answer or list.
_ANSWERS: list[tuple[str, str]] = [
    (r"/assistants(/[^/]+)?", "assistant"),
    (r"/threads(/(?!(runs|bulk_delete|bulk_cancel)$)[^/]+)?", "thread"),
    (r"/threads/[^/]+/messages(/[^/]+)?", "thread.message"),
    (r"/threads/runs|/threads/[^/]+/runs(/[^/]+(/cancel|/submit_tool_outputs)?)?", "thread.run"),
    (r"/threads/[^/]+/runs/[^/]+/steps(/[^/]+)?", "thread.run.step"),
    (r"/files(/[^/]+)?", "file"),
    (r"/assistants/[^/]+/files(/[^/]+)?", "assistant.file"),
    (r"/threads/[^/]+/messages/[^/]+/files(/[^/]+)?", "thread.message.file"),
    (r"/uploads(/[^/]+/(complete|cancel))?", "upload"),
    (r"/uploads/[^/]+/parts", "upload.part"),
    (r"/vector_stores(/[^/]+)?", "vector_store"),
    (r"/vector_stores/[^/]+(/file_batches/[^/]+)?/files(/[^/]+)?", "vector_store.file"),
    (r"/vector_stores/[^/]+/file_batches(/[^/]+(/cancel)?)?", "vector_store.file_batch"),
    (r"/vector_stores/[^/]+/search", "vector_store.search_results.page"),
    (r"/vector_stores/[^/]+/files/[^/]+/content", "vector_store.file_content.page"),
]
LIST_KEYS = ["object", "data", "first_id", "last_id", "has_more"]
ERROR_KEYS = ["message", "type", "param", "code"]


def problems_of_answer(version: str, method: str, path: str, status: int, body: Any) -> list[str]:
    """Returns the problems of a JSON answer to `path` (without /v1)."""
    if status != 200:
        return _problems_of_error(body)
    plain = path.partition("?")[0]
    kind = next((kind for pattern, kind in _ANSWERS if re.fullmatch(pattern, plain)), None)
    if kind is None:
        # Imported late: it loads the server's modules, which takes seconds that pure tests need not spend.
        from tests.wire import own_document

        return own_document.find_problems(method, plain, body)
    if method == "DELETE":
        return _problems(version, f"{kind}.deleted", body, rest=True)
    if method == "GET" and isinstance(body, dict) and body.get("object") == "list":
        return _problems_of_list(version, kind, body)
    return _problems(version, kind, body, rest=True)


def problems_of_frame(version: str, event: str, data: Any) -> list[str]:
    """Returns the problems of a server-sent event, whose data must be of the type that its name says."""
    if event == "done":
        return [] if data == "[DONE]" else [f"done says {data}"]
    if event == "error":
        return _problems_of_error(data)
    kind, _, verb = event.rpartition(".")
    found = _problems(version, f"{kind}.delta" if verb == "delta" else kind, data)
    if verb not in ("created", "delta") and kind != "thread" and data["status"] != verb:
        found.append(f"{event} shows status {data['status']}")
    return found


def _problems_of_error(body: Any) -> list[str]:
    # Errors about files also have `detail` (recordings files_*).
    told = list(body) if isinstance(body, dict) else []
    if told not in (["error"], ["error", "detail"]) or list(body["error"]) != ERROR_KEYS:
        return [f"an error in no shape of the API's: {body}"]
    message, kind, param, code = body["error"].values()
    fine = isinstance(message, str) and message and isinstance(kind, str)
    return [] if fine and all(isinstance(one, str | None) for one in (param, code)) else [f"wrong types: {body}"]


def _problems_of_list(version: str, kind: str, body: Any) -> list[str]:
    if (version, kind) == ("v1", "file"):  # has no pages
        if list(body) != ["object", "data"]:
            return [f"a list with {list(body)}"]
        return [one for item in body["data"] for one in _problems(version, kind, item, rest=True)]
    if list(body) != LIST_KEYS or not isinstance(body["has_more"], bool):
        return [f"a list with {list(body)}"]
    ids = [one["id"] for one in body["data"]] or [None]
    if (body["first_id"], body["last_id"]) != (ids[0], ids[-1]):
        return [f"first_id and last_id of {ids}: {body['first_id']}, {body['last_id']}"]
    return [one for item in body["data"] for one in _problems(version, kind, item, rest=True)]


def _problems(version: str, kind: str, value: Any, *, rest: bool = False) -> list[str]:
    if not isinstance(value, dict) or value.get("object") != _CALLED.get(kind, kind):
        return [f"no {kind}: {value}"]
    if _KINDS[kind] not in _closed_document(version):
        return [f"{version} knows no {kind}"]
    errors = _validator(version, _KINDS[kind], rest).iter_errors(value)
    return [f"{kind}{error.json_path[1:]}: {error.message[:300]}" for error in errors]


@cache
def _validator(version: str, schema: str, rest: bool) -> Draft202012Validator:
    closed = _closed_document(version)
    if rest and (version, schema) == ("v2", "MessageObject"):
        required = [key for key in closed[schema]["required"] if key not in OVER_REST]
        closed = {**closed, schema: {**closed[schema], "required": required}}
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": {"schemas": closed}})


@cache
def _closed_document(version: str) -> dict[str, Any]:
    schemas: dict[str, Any] = _without_other_keys(document(version)["components"]["schemas"])
    if version == "v1":
        # The document of v1 has no deletion of messages; that of v2 applies.
        schemas["DeleteMessageResponse"] = _closed_document("v2")["DeleteMessageResponse"]
    for of, name, more in MORE:
        if of == version:
            assert not more.keys() & _object(schemas[name])["properties"].keys(), name
            _object(schemas[name])["properties"] |= more
    for versions, way, keys in ALWAYS:
        if version in versions.split():
            name, *steps = way.split("/")
            found = reduce(lambda node, key: _object(node["properties"][key]), steps, _object(schemas[name]))
            assert keys <= found["properties"].keys(), way
            found["required"] = [*{*found.get("required", []), *keys}]
    for name, key, inner, value in VALUES:
        _object(_object(schemas[name])["properties"][key])["properties"][inner]["enum"].append(value)
    return schemas


def _object(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of an object in a union with null."""
    found: dict[str, Any] = schema["anyOf"][0] if "anyOf" in schema else schema
    return found


def _without_other_keys(node: Any) -> Any:
    """Returns the schema with objects that allow no other keys. A schema with `properties` is an object's."""
    if isinstance(node, list):
        return [_without_other_keys(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _without_other_keys(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        found = {"type": "object", **found, "additionalProperties": False}
    return found
