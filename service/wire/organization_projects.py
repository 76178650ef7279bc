"""Parses and renders projects and their API keys, in the shapes of the original's administration API.

The original creates keys through service accounts. Here POST …/api_keys creates one, and the answer has its `value`, as
that of the original's service accounts. `scope`, the limits and `revoked_at` are fields of our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, StringConstraints

from events.objects import Json
from service.wire.fields import DEFAULT_PAGE, MAX_NAME, MAX_PAGE, RequestBody
from service.wire.query import parse_bounded_integer, parse_id
from service.wire.requests import parse_body
from service.wire.validation_errors import invalid_value

MAX_LIMIT = 2**31 - 1
# Printable characters: names are shown in tables of the command line.
_NamePattern = StringConstraints(strict=True, min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
KeyName = Annotated[str, _NamePattern]
Limit = Annotated[int, Strict(), Field(ge=1, le=MAX_LIMIT)]
KeyScope = Literal["full", "read", "audit", "audit:content", "admin"]
_FLAGS = ("true", "false")


class ProjectRequest(RequestBody):
    """The body that creates a project, or renames it."""

    name: KeyName


class NewApiKey(RequestBody):
    """The body that creates a key. A limit that is absent or null does not apply."""

    name: KeyName
    scope: KeyScope = "full"
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    max_runs: Limit | None = None


class ApiKeyChange(RequestBody):
    """The body that changes a key. Absent fields keep their values; a limit that is null does not apply any more."""

    name: KeyName | None = None
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    max_runs: Limit | None = None


@dataclass(frozen=True, slots=True)
class OrganizationPageQuery:
    """The query of a page of projects or keys."""

    after: str | None
    limit: int


def parse_project(body: Any) -> str:
    """Returns the name of the project. Raises Rejection if the body is invalid."""
    return parse_body(ProjectRequest, body).name


def parse_new_key(body: Any) -> NewApiKey:
    """Raises Rejection if the body is invalid."""
    return parse_body(NewApiKey, body)


def parse_key_changes(body: Any) -> Json:
    """Returns the fields to change. Raises Rejection if the body is invalid."""
    request = parse_body(ApiKeyChange, body)
    named = {name: getattr(request, name) for name in request.model_fields_set}
    return {name: value for name, value in named.items() if value is not None or name != "name"}


def parse_organization_page(query: Mapping[str, str]) -> OrganizationPageQuery:
    """Raises Rejection if the query is invalid."""
    return OrganizationPageQuery(
        parse_id(query, "after"), parse_bounded_integer(query, "limit", 1, MAX_PAGE, DEFAULT_PAGE)
    )


def parse_flag(query: Mapping[str, str], name: str) -> bool:
    """Returns the parameter, false if it is absent. Raises Rejection if it is neither `true` nor `false`."""
    given = query.get(name) or "false"
    if given not in _FLAGS:
        raise invalid_value(name, given, _FLAGS)
    return given == "true"


def render_project(id: str, name: str, created_at: datetime) -> Json:
    return {
        "id": id,
        "object": "organization.project",
        "name": name,
        "created_at": _seconds(created_at),
        "archived_at": None,
        "status": "active",
    }


def render_key(
    id: str,
    *,
    name: str,
    scope: str,
    ending: str,
    limits: Mapping[str, int | None],
    created_at: datetime,
    last_used_at: datetime | None,
    revoked_at: datetime | None,
) -> Json:
    """Returns a key without its secret. `limits` are those of a key, by name.

    The owner is a service account of the key's own, under its id, as in the entries of the audit log.
    """
    account = {"id": id, "name": name, "role": "member", "created_at": _seconds(created_at)}
    return {
        "id": id,
        "object": "organization.project.api_key",
        "name": name,
        "redacted_value": f"et-…{ending}",
        "created_at": _seconds(created_at),
        "last_used_at": None if last_used_at is None else _seconds(last_used_at),
        "expires_at": None,
        "owner": {"type": "service_account", "service_account": account},
        "owner_project_access": "active" if revoked_at is None else "inactive",
        "scope": scope,
        **limits,
        "revoked_at": None if revoked_at is None else _seconds(revoked_at),
    }


def render_new_key(key: Json, secret: str) -> Json:
    """Adds the secret to a rendered key. No other answer shows it."""
    return {**key, "value": secret}


def render_deleted_key(id: str) -> Json:
    return {"id": id, "object": "organization.project.api_key.deleted", "deleted": True}


def render_organization_page(items: Sequence[Json], *, more: bool) -> Json:
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": more,
    }


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
