"""Makes the document from the table of routes, the request models, and the schemas of rendered objects."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, assert_never

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.http import idempotency, queueing, run_stream
from service.http.middleware import QUOTES, QUOTES_VALUES
from service.http.openapi import samples
from service.http.route import BOTH, V2, FormBody, JsonBody, PassedBody, Route, SignedToken
from service.wire.as_of import AT
from service.wire.audit import DEFAULT_AUDIT_PAGE, MAX_AUDIT_PAGE, MAX_TYPES
from service.wire.fields import DEFAULT_PAGE, MAX_FILES_PAGE, MAX_METADATA_VALUE, MAX_PAGE
from service.wire.organization_audit import DEFAULT_LOGS_PAGE, MAX_LOGS_PAGE, MAX_VALUES, TYPES
from service.wire.organization_usage import (
    COST_GROUPS,
    DEFAULT_COST_BUCKETS,
    FAILURE_GROUPS,
    MAX_COST_BUCKETS,
    RUN_GROUPS,
    USAGE_GROUPS,
    WIDTHS,
)
from service.wire.query import ORDERS, SEARCH_RESULT_CONTENT
from service.wire.thread_search import MAX_TEXT
from service.wire.thread_search import STATUSES as RUN_STATUSES
from service.wire.transcript import FORMATS
from service.wire.vector_stores import STATUSES

Json = dict[str, Any]
Model = type[BaseModel]
_REF = "#/components/schemas/"
_TOKEN = "Of POST /v1/threads/{thread_id}/stream_tokens or POST /v1/files/{file_id}/links: good for that one thing"
_POINT: Json = {
    "anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}],
    "description": "The point in the past as of which to read: a version of the stream (an integer below 10^9; not in"
    " lists of several streams), Unix seconds, or a time as in RFC 3339",
}
_AUDIT: Json = {
    "after": {"type": "integer", "minimum": -1, "default": -1},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_AUDIT_PAGE, "default": DEFAULT_AUDIT_PAGE},
    **{name: {"type": "string"} for name in ("project_id", "actor", "stream_id", "request_id", "since", "until")},
    "type[]": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_TYPES},
    "include[]": {"type": "array", "items": {"enum": ["content"]}},
    "stream": {"enum": ["true", "false"], "default": "false"},
    "order": {"enum": list(ORDERS), "default": "asc"},
}
_AUDIT_LOGS: Json = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LOGS_PAGE, "default": DEFAULT_LOGS_PAGE},
    **{name: {"type": "string"} for name in ("after", "before")},
    **{f"effective_at[{name}]": {"type": "integer"} for name in ("gt", "gte", "lt", "lte")},
    "event_types[]": {"type": "array", "items": {"enum": list(TYPES)}},
    **{
        f"{name}[]": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_VALUES}
        for name in ("project_ids", "actor_ids", "actor_emails", "resource_ids")
    },
}
_BUCKETS: Json = {
    **{name: {"type": "integer", "minimum": 0} for name in ("start_time", "end_time")},
    "page": {"type": "string"},
    **{
        f"{name}[]": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_VALUES}
        for name in ("project_ids", "api_key_ids")
    },
}
_USAGE: Json = _BUCKETS | {
    "bucket_width": {"enum": list(WIDTHS), "default": "1d"},
    "limit": {"type": "integer", "minimum": 1, "maximum": WIDTHS["1m"][2]},
    "group_by[]": {"type": "array", "items": {"enum": list(USAGE_GROUPS)}},
    "models[]": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_VALUES},
}
_RUNS: Json = {
    **_USAGE,
    "group_by[]": {"type": "array", "items": {"enum": list(RUN_GROUPS)}},
    "assistant_ids[]": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_VALUES},
}
_FAILURES: Json = {
    **{name: schema for name, schema in _RUNS.items() if name not in ("page", "limit", "bucket_width")},
    "group_by[]": {"type": "array", "items": {"enum": list(FAILURE_GROUPS)}},
}
_COSTS: Json = _BUCKETS | {
    "bucket_width": {"enum": ["1d"], "default": "1d"},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_COST_BUCKETS, "default": DEFAULT_COST_BUCKETS},
    "group_by[]": {"type": "array", "items": {"enum": list(COST_GROUPS)}},
    "line_items[]": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_VALUES},
}
_REPLAY: Json = {
    "after": {"type": "integer", "minimum": 0, "default": 0},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
}
_ORGANIZATION: Json = {
    "after": {"type": "string"},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
}
_VERSIONS: Json = {
    "before": {"type": "integer", "minimum": 1},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
}
_THREAD_SEARCH: Json = {
    "query": {"type": "string", "maxLength": MAX_TEXT},
    "assistant_id": {"type": "string"},
    "status": {"enum": list(RUN_STATUSES)},
}
_FLAG: Json = {"enum": ["true", "false"], "default": "false"}
_WITH_QUOTES = ("Message", "MessageList")  # answers that can hold citations
_BETAS = {"v2": "assistants=v2", "v1": "assistants=v1"}
_DESCRIPTION = (
    "An event-sourced server for the Assistants API. The header OpenAI-Beta chooses its version, v2 or v1; schemas with"
    " V1 in their names are v1's. Every path under /v1 is also served under /openai for Azure's clients, with"
    " ?api-version= and the header api-key."
)

# The errors whose status says what the client can do. All errors have one shape.
_ERRORS = {
    "401": "No key, or one that is not good (any more)",
    "404": "There is no such object",
    "409": "The first request with this Idempotency-Key is still being worked on: ask again",
    "429": "More than the key may ask, or the server has open: ask again after Retry-After",
}

# metadata[key]=value, created_at[gte]=seconds.
_FILTERS: list[Json] = [
    {"name": name, "in": "query", "style": "deepObject", "explode": True, "schema": {"type": "object", **schema}}
    for name, schema in (
        ("metadata", {"additionalProperties": {"type": "string", "maxLength": MAX_METADATA_VALUE}}),
        (
            "created_at",
            {
                "properties": {bound: {"type": "integer", "minimum": 0} for bound in ("gt", "gte", "lt", "lte")},
                "additionalProperties": False,
            },
        ),
    )
]


def document(routes: Sequence[Route]) -> Json:
    """Returns the OpenAPI 3.1 document of these routes, those under /v1 first."""
    names = _request_names(routes)
    objects = _objects()
    paths: dict[str, Json] = {}
    for route in sorted(routes, key=lambda route: not route.path.startswith("/v1/")):
        paths.setdefault(route.plain_path, {})[route.method.lower()] = _operation(route, set(objects), names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Everthread", "version": version("everthread"), "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"azure": []}],
        "paths": paths,
        "components": {
            "schemas": {**_requests(names), **objects, "Error": samples.error()},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "azure": {"type": "apiKey", "in": "header", "name": "api-key"},
                "token": {"type": "apiKey", "in": "query", "name": "token", "description": _TOKEN},
            },
        },
    }


def _objects() -> dict[str, Json]:
    """Returns the schemas of rendered objects by name. If the versions differ, v1's has V1 behind its name."""
    v2, v1 = samples.schemas()
    same = {name for name in v2 if v1.get(name) == v2[name]}
    differing = {name for name in v2 if name in v1 and name not in same}
    return {
        **{name: _link_items(schema, differing, v2=True, v1=name in same) for name, schema in v2.items()},
        **{_v1(name): _link_items(v1[name], differing, v2=False, v1=True) for name in sorted(differing)},
        **{name: _link_items(schema, differing, v2=False, v1=True) for name, schema in v1.items() if name not in v2},
    }


def _operation(route: Route, schemas: set[str], names: dict[Model, str]) -> Json:
    found: Json = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "tags": [route.path.split("/")[2] if route.path.startswith("/v1/") else "server"],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {
            "200": {"description": "OK", "content": _answer(route, schemas)},
            **({"204": {"description": route.empty}} if route.empty is not None else {}),
            **{status: _error(_ERRORS[status]) for status in _statuses(route)},
            "default": _error("An error"),
        },
    }
    body = _body(route, names)
    if body is not None:
        found["requestBody"] = body
    if route.access == "public":
        found["security"] = []
    if isinstance(route.access, SignedToken):
        found["security"] = [{"key": []}, {"azure": []}, {"token": []}]
    return found


def _statuses(route: Route) -> list[str]:
    """Returns those of _ERRORS that the operation can answer with."""
    if route.access == "public":
        return []
    return ["401", *(["404"] if route.parameters else []), *(["409"] if route.method == "POST" else []), "429"]


def _error(description: str) -> Json:
    return {"description": description, "content": _json({"$ref": _REF + "Error"})}


def _answer(route: Route, schemas: set[str]) -> Json:
    if route.answer is None:
        schema: Json = {"type": "object"} if route.media == "application/json" else {"type": "string"}
    else:
        refs = [route.answer] if route.answer in schemas else []
        if _v1(route.answer) in schemas and route.versions != V2:
            refs.append(_v1(route.answer))
        schema = _any([{"$ref": _REF + name} for name in refs])
    stream = {"text/event-stream": {"schema": {"type": "string"}}} if route.can_stream else {}
    other = {} if route.other_media is None else {route.other_media: {"schema": {"type": "string"}}}
    return {route.media: {"schema": schema}, **stream, **other}


def _body(route: Route, names: dict[Model, str]) -> Json | None:
    match route.body:
        case None:
            return None
        case PassedBody(schema):
            return {"required": True, "content": _json(dict(schema))}
        case FormBody(required, optional):
            schema = {"type": "object", "properties": {**required, **optional}, "required": list(required)}
            return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
        case JsonBody(models=models):
            needed = any(field.is_required() for model in models for field in model.model_fields.values())
            return {"required": needed, "content": _json(_any([{"$ref": _REF + names[model]} for model in models]))}
        case _:
            assert_never(route.body)


def _path_parameters(route: Route) -> list[Json]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.parameters]


def _query_parameters(route: Route) -> list[Json]:
    found: Json = {}
    if "page" in route.query or "files" in route.query:
        most = MAX_PAGE if "page" in route.query else MAX_FILES_PAGE
        default = DEFAULT_PAGE if "page" in route.query else MAX_FILES_PAGE
        found["limit"] = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
        found["order"] = {"enum": list(ORDERS), "default": "desc"}
        found |= {"after": {"type": "string"}, "before": {"type": "string"}}
    if "audit" in route.query:
        found |= _AUDIT
    if "audit_logs" in route.query:
        found |= _AUDIT_LOGS
    if "proof" in route.query:
        found["include[]"] = _AUDIT["include[]"]
    if "usage" in route.query:
        found |= _USAGE
    if "deliveries" in route.query:
        found["limit"] = _ORGANIZATION["limit"]
    if "usage_runs" in route.query:
        found |= _RUNS
    if "failures" in route.query:
        found |= _FAILURES
    if "costs" in route.query:
        found |= _COSTS
    if "replay" in route.query:
        found |= _REPLAY
    if "organization" in route.query:
        found |= _ORGANIZATION
    if "transcript" in route.query:
        found["format"] = {"enum": list(FORMATS), "default": "json"}
    if "versions" in route.query:
        found |= _VERSIONS
    if "revoked" in route.query:
        found["include_revoked"] = _FLAG
    if "holds" in route.query:
        found |= {"project_id": {"type": "string"}, "include_ended": _FLAG}
    if "files" in route.query:
        found["purpose"] = {"type": "string"}
    if "run_id" in route.query:
        found["run_id"] = {"type": "string"}
    if "status" in route.query:
        found["filter"] = {"enum": list(STATUSES)}
    if "content" in route.query:
        found["page"] = {"type": "string"}
    if "thread_search" in route.query:
        found |= _THREAD_SEARCH
    if "include" in route.query:
        found["include[]"] = {"type": "array", "items": {"enum": [SEARCH_RESULT_CONTENT]}}
    if V2[0] in route.versions and (route.can_stream or route.answer in _WITH_QUOTES):
        found[QUOTES] = {"enum": list(QUOTES_VALUES)}
    if "resumption" in route.query:
        found["last_event_id"] = {"type": "string"}
        found["after"] = {"type": "integer", "minimum": 0}
    if route.past is not None:
        found[AT] = _POINT
    filters = _FILTERS if "filters" in route.query else []
    return [*({"name": name, "in": "query", "schema": schema} for name, schema in found.items()), *filters]


def _header_parameters(route: Route) -> list[Json]:
    found: Json = {}
    # If SDKs do not send OpenAI-Beta and both versions have the operation, the header makes no difference to speak of.
    if route.versions and (route.beta_header == "required" or route.versions != BOTH):
        found["OpenAI-Beta"] = {"enum": [_BETAS[name] for name in route.versions]}
    if route.can_queue:
        found[queueing.HEADER] = {"enum": list(queueing.OF_RUNS if route.can_stream else queueing.OF_MESSAGES)}
    if route.can_cancel:
        found[run_stream.ON_DISCONNECT] = {"enum": list(run_stream.DISCONNECT_VALUES)}
    if route.method == "POST":
        found[idempotency.HEADER] = {"type": "string", "minLength": 1, "maxLength": idempotency.MAX_KEY}
    if V2[0] in route.versions and (route.can_stream or route.answer in _WITH_QUOTES):
        found[QUOTES] = {"enum": list(QUOTES_VALUES)}
    if "resumption" in route.query:
        found["Last-Event-ID"] = {"type": "string"}
    # A token says the version itself.
    needs_beta = route.beta_header == "required" and not isinstance(route.access, SignedToken)
    return [
        {"name": name, "in": "header", "required": name == "OpenAI-Beta" and needs_beta, "schema": schema}
        for name, schema in found.items()
    ]


def _request_names(routes: Sequence[Route]) -> dict[Model, str]:
    """Returns the names of the models of bodies. "Request" sets each apart from the object of the same name."""
    models = [model for route in routes if isinstance(route.body, JsonBody) for model in route.body.models]
    return {model: f"{model.__name__}Request" for model in dict.fromkeys(models)}


def _requests(names: dict[Model, str]) -> Json:
    """Returns the schemas of the models and of their parts, under names that no rendered object has."""
    refs, shared = models_json_schema([(model, "validation") for model in names], ref_template=_REF + "{model}")
    models = {refs[model, "validation"]["$ref"]: names[model] for model in names}
    parts = {_REF + name: f"{name}Input" for name in shared.get("$defs", {}) if _REF + name not in models}
    renamed = {**models, **parts}
    found = _replace_refs(shared.get("$defs", {}), {old: _REF + new for old, new in renamed.items()})
    return {renamed[_REF + name]: schema for name, schema in found.items()}


def _replace_refs(value: Any, refs: dict[str, str]) -> Any:
    match value:
        case dict():
            return {
                key: refs.get(item, item) if key == "$ref" and isinstance(item, str) else _replace_refs(item, refs)
                for key, item in value.items()
            }
        case list():
            return [_replace_refs(item, refs) for item in value]
        case _:
            return value


def _link_items(schema: Json, differing: set[str], *, v2: bool, v1: bool) -> Json:
    """Returns the schema of a list with its items by reference; any other schema as it is.

    Schemas that are `differing` between the versions are linked in those versions that the list holds.
    """
    data = schema.get("properties", {}).get("data", {}).get("items", {})
    name = data.get("$ref")
    if name is None:
        return schema
    names = [name] if name not in differing else [*([name] if v2 else []), *([_v1(name)] if v1 else [])]
    items = _any([{"$ref": _REF + each} for each in names])
    return {**schema, "properties": {**schema["properties"], "data": {"type": "array", "items": items}}}


def _v1(name: str) -> str:
    return f"{name}V1"


def _any(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}
