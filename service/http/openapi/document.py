"""The document: the routes as they are registered, the request models, and the schemas of what is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from aiohttp import web
from pydantic.json_schema import models_json_schema

from service.http import idempotency, queueing
from service.http.middleware import WITHOUT_BETA
from service.http.openapi import samples
from service.http.openapi.operations import OPERATIONS, Model, Operation
from service.wire.fields import DEFAULT_PAGE, MAX_METADATA_VALUE, MAX_PAGE
from service.wire.files import PURPOSES
from service.wire.query import ORDERS, SEARCH_RESULT_CONTENT
from service.wire.vector_stores import STATUSES

Json = dict[str, Any]
_REF = "#/components/schemas/"
_PATTERN = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_TOKEN = "Of POST /v1/threads/{thread_id}/stream_tokens or POST /v1/files/{file_id}/links: good for that one thing"
_BETAS = {"v2": "assistants=v2", "v1": "assistants=v1"}
_DESCRIPTION = (
    "An event-sourced server for the Assistants API. The header OpenAI-Beta chooses its version, v2 or v1; schemas with"
    " V1 in their names are v1's. Every path under /v1 is also served under /openai for Azure's clients, with"
    " ?api-version= and the header api-key."
)

# Errors that say by their status what to do; all have one shape.
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


def document(routes: Iterable[web.RouteDef]) -> Json:
    """The OpenAPI 3.1 document of these routes."""
    names = _names()
    v2, v1 = samples.schemas()
    same = {name for name in v2 if v1.get(name) == v2[name]}
    two = {name for name in v2 if name in v1 and name not in same}
    shown = {name: _linked(schema, two, v2=True, v1=name in same) for name, schema in v2.items()}
    shown |= {_v1(name): _linked(v1[name], two, v2=False, v1=True) for name in sorted(two)}
    shown |= {name: _linked(schema, two, v2=False, v1=True) for name, schema in v1.items() if name not in v2}
    paths: dict[str, Json] = {}
    for route in sorted(routes, key=lambda route: not route.path.startswith("/v1/")):
        path = _PATTERN.sub(r"{\1}", route.path)
        told = OPERATIONS.get(f"{route.method} {path}") or Operation(_said(route), versions=())
        paths.setdefault(path, {})[route.method.lower()] = _operation(route.method, path, told, set(shown), names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Everthread", "version": version("everthread"), "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"azure": []}],
        "paths": paths,
        "components": {
            "schemas": {**_requests(names), **shown, "Error": samples.error()},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "azure": {"type": "apiKey", "in": "header", "name": "api-key"},
                "token": {"type": "apiKey", "in": "query", "name": "token", "description": _TOKEN},
            },
        },
    }


def _operation(method: str, path: str, told: Operation, schemas: set[str], names: dict[Model, str]) -> Json:
    found: Json = {
        "operationId": "_".join((method.lower(), *re.findall(r"\w+", path.removeprefix("/v1")))),
        "summary": told.summary,
        "tags": [path.split("/")[2] if path.startswith("/v1/") else "server"],
        "parameters": [*_in_path(path), *_in_query(told), *_in_header(method, path, told)],
        "responses": {
            "200": {"description": "OK", "content": _answer(told, schemas)},
            **{status: _error(_ERRORS[status]) for status in _statuses(method, path, told)},
            "default": _error("An error"),
        },
    }
    body = _body(told, names)
    if body is not None:
        found["requestBody"] = body
    if told.open:
        found["security"] = []
    if told.token:
        found["security"] = [{"key": []}, {"azure": []}, {"token": []}]
    return found


def _statuses(method: str, path: str, told: Operation) -> list[str]:
    """Of _ERRORS, those that the operation can answer with."""
    if told.open:
        return []
    return ["401", *(["404"] if "{" in path else []), *(["409"] if method == "POST" else []), "429"]


def _error(description: str) -> Json:
    return {"description": description, "content": _json({"$ref": _REF + "Error"})}


def _answer(told: Operation, schemas: set[str]) -> Json:
    if told.answer is None:
        schema: Json = {"type": "object"} if told.media == "application/json" else {"type": "string"}
    else:
        named = [told.answer] if told.answer in schemas else []
        if _v1(told.answer) in schemas and told.versions != ("v2",):
            named.append(_v1(told.answer))
        schema = _any([{"$ref": _REF + name} for name in named])
    streamed = {"text/event-stream": {"schema": {"type": "string"}}} if told.streams else {}
    return {told.media: {"schema": schema}, **streamed}


def _body(told: Operation, names: dict[Model, str]) -> Json | None:
    if told.raw is not None and "type" not in told.raw:
        return {"required": True, "content": {"multipart/form-data": {"schema": _form(told.raw)}}}
    if told.raw is not None:
        return {"required": True, "content": _json(told.raw)}
    if told.form is not None:
        fields = {"file": {"type": "string", "format": "binary"}, "purpose": {"enum": list(PURPOSES)}}
        extra = {f"expires_after[{name}]": {"type": "string"} for name in ("anchor", "seconds")}
        return {"required": True, "content": {"multipart/form-data": {"schema": _form(fields, extra)}}}
    models = list(dict.fromkeys(model for model in told.body if model is not None))
    if not models:
        return None
    required = any(field.is_required() for model in models for field in model.model_fields.values())
    return {"required": required, "content": _json(_any([{"$ref": _REF + names[model]} for model in models]))}


def _form(fields: Json, optional: Json | None = None) -> Json:
    return {"type": "object", "properties": {**fields, **(optional or {})}, "required": list(fields)}


def _in_path(path: str) -> list[Json]:
    found = _PATTERN.findall(path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in found]


def _in_query(told: Operation) -> list[Json]:
    found: Json = {}
    if "page" in told.query or "files" in told.query:
        most = MAX_PAGE if "page" in told.query else 10_000
        default = DEFAULT_PAGE if "page" in told.query else 10_000
        found["limit"] = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
        found["order"] = {"enum": list(ORDERS), "default": "desc"}
        found |= {"after": {"type": "string"}, "before": {"type": "string"}}
    if "files" in told.query:
        found["purpose"] = {"type": "string"}
    if "run_id" in told.query:
        found["run_id"] = {"type": "string"}
    if "status" in told.query:
        found["filter"] = {"enum": list(STATUSES)}
    if "content" in told.query:
        found["page"] = {"type": "string"}
    if "include" in told.query:
        found["include[]"] = {"type": "array", "items": {"enum": [SEARCH_RESULT_CONTENT]}}
    if "last_event_id" in told.query:
        found["last_event_id"] = {"type": "string"}
    narrowed = _FILTERS if "filters" in told.query else []
    return [*({"name": name, "in": "query", "schema": schema} for name, schema in found.items()), *narrowed]


def _in_header(method: str, path: str, told: Operation) -> list[Json]:
    found: Json = {}
    if told.versions:
        found["OpenAI-Beta"] = {"enum": [_BETAS[one] for one in told.versions]}
    if told.busy:
        found[queueing.HEADER] = {"enum": list(queueing.VALUES)}
    if method == "POST":
        found[idempotency.HEADER] = {"type": "string", "minLength": 1, "maxLength": idempotency.MAX_KEY}
    if "last_event_id" in told.query:
        found["Last-Event-ID"] = {"type": "string"}
    # Where a token says the version, or SDKs send none.
    optional = told.token or path.startswith(WITHOUT_BETA)
    return [
        {"name": name, "in": "header", "required": name == "OpenAI-Beta" and not optional, "schema": schema}
        for name, schema in found.items()
    ]


def _names() -> dict[Model, str]:
    """What the models are called: a request is told apart from the object of its name."""
    models = [model for told in OPERATIONS.values() for model in told.body if model is not None]
    return {model: f"{model.__name__}Request" for model in dict.fromkeys(models)}


def _requests(names: dict[Model, str]) -> Json:
    """The models' schemas and those of their parts, with names that clash with no object's."""
    refs, shared = models_json_schema([(model, "validation") for model in names], ref_template=_REF + "{model}")
    given = {refs[model, "validation"]["$ref"]: names[model] for model in names}
    parts = {_REF + name: f"{name}Input" for name in shared.get("$defs", {}) if _REF + name not in given}
    renamed = {**given, **parts}
    found = _relinked(shared.get("$defs", {}), {old: _REF + new for old, new in renamed.items()})
    return {renamed[_REF + name]: schema for name, schema in found.items()}


def _relinked(value: Any, refs: dict[str, str]) -> Any:
    match value:
        case dict():
            return {
                key: refs.get(item, item) if key == "$ref" and isinstance(item, str) else _relinked(item, refs)
                for key, item in value.items()
            }
        case list():
            return [_relinked(item, refs) for item in value]
        case _:
            return value


def _linked(schema: Json, two: set[str], *, v2: bool, v1: bool) -> Json:
    """A list with its items by reference. Those in `two` differ between the versions: which of them the list holds."""
    data = schema.get("properties", {}).get("data", {}).get("items", {})
    name = data.get("$ref")
    if name is None:
        return schema
    named = [name] if name not in two else [*([name] if v2 else []), *([_v1(name)] if v1 else [])]
    items = _any([{"$ref": _REF + one} for one in named])
    return {**schema, "properties": {**schema["properties"], "data": {"type": "array", "items": items}}}


def _v1(name: str) -> str:
    return f"{name}V1"


def _any(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _said(route: web.RouteDef) -> str:
    said = (getattr(route.handler, "__doc__", None) or "").strip().split("\n")[0]
    return said or str(getattr(route.handler, "__name__", "")).replace("_", " ").capitalize()
