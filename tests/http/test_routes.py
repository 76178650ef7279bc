"""The table of routes: every entry is whole, and the server keeps to what the entries say."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from aiohttp import web

import service.http
from service.database import Pool
from service.http import azure
from service.http.openapi import samples
from service.http.openapi.document import document
from service.http.route import BOTH, UNVERSIONED, FormBody, JsonBody, PassedBody, Query, Route, SignedToken
from service.http.routes import ROUTES
from service.http.routing import RouteTable
from tests.client import V1, V2, Client
from tests.http.keys import as_key

NAMES = [route.name for route in ROUTES]


def handlers() -> Iterator[Any]:
    """Returns the functions of service.http that take a request and return a response."""
    for module in pkgutil.walk_packages(service.http.__path__, "service.http."):
        for function in vars(importlib.import_module(module.name)).values():
            if inspect.iscoroutinefunction(function) and function.__module__ == module.name:
                signature = inspect.signature(function, eval_str=True)
                returned = signature.return_annotation
                takes_request = [one.annotation for one in signature.parameters.values()] == [web.Request]
                is_handler = takes_request and inspect.isclass(returned) and issubclass(returned, web.StreamResponse)
                if is_handler and not function.__name__.startswith("_"):
                    yield function


def test_no_two_entries_are_alike() -> None:
    assert len(set(NAMES)) == len(NAMES)
    ids = [route.operation_id for route in ROUTES]
    assert len(set(ids)) == len(ids)


def test_every_handler_is_the_handler_of_one_entry() -> None:
    in_table = [*(route.handler for route in ROUTES), *(route.past for route in ROUTES if route.past is not None)]
    assert len(set(in_table)) == len(in_table)
    assert set(handlers()) == set(in_table)


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_an_entry_is_whole(route: Route) -> None:
    assert route.summary.strip() == route.summary != ""
    assert not route.summary.endswith("."), "a heading"
    is_outside = route.access in ("public", "local") or route.path.startswith("/audit/log/")
    assert route.path.startswith("/v1/") or is_outside, "clients' base URL ends in /v1"
    assert set(route.versions) <= set(BOTH)
    assert len(set(route.versions)) == len(route.versions)
    # A request without a key has no limits that it could count against.
    assert (route.cost == "nothing") == (route.access == "public")
    assert route.scope == "admin" or (route.scope in ("full", "fork")) == (route.method != "GET")
    assert route.past is None or route.method == "GET"
    if isinstance(route.access, SignedToken):
        assert route.method == "GET"
        assert route.access.parameter in route.parameters
    elif route.versions != UNVERSIONED:
        assert route.answer is not None, "a rendered object has a schema"
    assert set(route.query) <= set(get_args(Query))


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_a_body_is_described(route: Route) -> None:
    assert route.method == "POST" or route.body is None
    match route.body:
        case None:
            pass
        case JsonBody(v2, v1):
            assert {version for version, model in (("v2", v2), ("v1", v1)) if model is not None} == set(
                route.versions or BOTH
            )
        case FormBody(required, _):
            assert required
        case PassedBody(schema):
            assert schema["type"] == "object"


@pytest.mark.slow
def test_the_document_describes_every_entry() -> None:
    described = document(ROUTES)["paths"]
    assert {f"{method.upper()} {path}" for path, methods in described.items() for method in methods} == set(NAMES)
    known = {name for schemas in samples.schemas() for name in schemas}
    assert {route.answer for route in ROUTES if route.answer is not None} <= known


def test_azure_has_every_operation_under_v1() -> None:
    for route in ROUTES:
        rest = route.path.removeprefix("/v1")
        expected = {"/openai" + rest, "/openai/v1" + rest} if route.path.startswith("/v1/") else set()
        if "v2" in route.versions and route.path.startswith("/v1/"):
            expected |= {rest, "/api/projects/{azure_project}" + rest}
        if isinstance(route.body, PassedBody):
            expected.add("/openai/deployments/{deployment}" + rest)
        assert set(azure.paths(route)) == expected


def test_every_path_leads_to_its_entry() -> None:
    app = web.Application()
    table = RouteTable(ROUTES)
    table.register(app.router)
    registered = {(one.method, one.resource.canonical) for one in app.router.routes() if one.resource is not None}
    for route in ROUTES:
        for path in (route.path, *azure.paths(route)):
            plain = re.sub(r":[^}]*}", "}", path)
            assert (route.method, plain) in registered
            assert ("HEAD", plain) in registered or route.method != "GET"


@pytest.mark.parametrize(
    ("beta", "refusal"), [(V1, (404, "unknown_url")), (V2, (400, "invalid_beta"))], ids=["v1", "v2"]
)
async def test_an_operation_answers_its_versions_alone(client: Client, beta: str, refusal: tuple[int, str]) -> None:
    client.validate = False
    version = beta.removeprefix("assistants=")
    for route in ROUTES:
        if not route.versions or route.versions == BOTH:
            continue
        path = re.sub(r"\{(\w+)[^}]*}", "x_1", route.path.removeprefix("/v1"))
        answer = await client.call(route.method, path, headers={"OpenAI-Beta": beta})
        found = (answer.status, answer.body.get("error", {}).get("code"))
        assert (found == refusal) == (version not in route.versions), route.name


@pytest.mark.parametrize("scope", ["read", "audit", "audit:content"])
async def test_the_scope_of_a_key_bounds_what_it_may_send(client: Client, pool: Pool, scope: str) -> None:
    permitted: dict[str, set[str]] = {
        "read": {"read"},
        "audit": {"audit"},
        "audit:content": {"read", "audit", "fork"},
    }
    # It covers all projects, and this key belongs to one.
    others = {"GET /v1/audit/verification"}
    async with await as_key(client, pool, scope=scope) as reader:
        reader.validate = False
        for route in ROUTES:
            if route.name not in others and route.path.startswith("/v1/") and not route.path.startswith("/v1/models"):
                path = re.sub(r"\{(\w+)[^}]*}", "x_1", route.path.removeprefix("/v1"))
                answer = await reader.call(route.method, path)
                assert (answer.status == 403) == (route.scope not in permitted[scope]), route.name
