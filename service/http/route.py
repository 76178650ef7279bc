"""One operation of the API, as an entry of the table of routes (`service.http.routes`).

Routing, authentication, rate limits, the choice of the version, the bound on the body, Azure's paths and the OpenAPI
document read these entries. Nothing else in the server knows an operation by its path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from pydantic import BaseModel

from service.access.signed_tokens import Purpose
from service.http.errors import Handler

Method = Literal["GET", "POST", "DELETE"]
Version = Literal["v2", "v1"]
# The least scope of an API key that may send the request.
Scope = Literal["read", "audit", "fork", "full", "admin"]
# How a request counts against the limits of its key. "tokens": as one request that makes a model work, so the key must
# have tokens left.
Cost = Literal["nothing", "request", "tokens"]
Query = Literal[
    "audit",
    "audit_logs",
    "proof",
    "usage",
    "costs",
    "page",
    "files",
    "run_id",
    "include",
    "filters",
    "thread_search",
    "resumption",
    "status",
    "content",
    "replay",
    "organization",
    "revoked",
    "holds",
    "versions",
    "transcript",
    "usage_runs",
    "failures",
    "deliveries",
]
Schema = Mapping[str, Any]

BOTH: tuple[Version, ...] = ("v2", "v1")
V2: tuple[Version, ...] = ("v2",)
V1: tuple[Version, ...] = ("v1",)
# An operation that is no part of the Assistants API: its requests need no OpenAI-Beta, and have no wire format.
UNVERSIONED: tuple[Version, ...] = ()

_PATTERN = re.compile(r"\{(\w+)(?::[^}]*)?\}")


@dataclass(frozen=True, slots=True)
class SignedToken:
    """Access with a key, or to GET with a token for `purpose` that names the id in the path's `parameter`."""

    purpose: Purpose
    parameter: str


# "key": an API key. "public": nothing. "local": an API key, or nothing if the request comes from this machine or
# EVERTHREAD_METRICS opens the path.
Access = Literal["key", "public", "local"] | SignedToken


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A JSON object; `v2` and `v1` are the models of the versions, None if the version takes no body."""

    v2: type[BaseModel] | None
    v1: type[BaseModel] | None

    @classmethod
    def same(cls, model: type[BaseModel]) -> JsonBody:
        """Returns the body of an operation that takes the same in both versions."""
        return cls(model, model)

    @property
    def models(self) -> list[type[BaseModel]]:
        """The models of the versions, each once."""
        return list(dict.fromkeys(model for model in (self.v2, self.v1) if model is not None))


@dataclass(frozen=True, slots=True)
class FormBody:
    """A form of type multipart/form-data: the JSON schemas of its fields, by name."""

    required: Schema
    optional: Schema


@dataclass(frozen=True, slots=True)
class PassedBody:
    """JSON that is passed to a model upstream as it came; `schema` says as much of it as this server reads."""

    schema: Schema


Body = JsonBody | FormBody | PassedBody


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The most bytes and tokens of a body of JSON.

    Tokens are commas, colons and opening brackets outside strings: about one for each value and each key.
    """

    bytes: int
    tokens: int


# Each is above the longest body that the limits of the fields allow, with every character escaped (12 bytes);
# docs/behaviour.md lists those limits.
# A key or a link, of which a stranger sends the body.
SIGN_IN_BODY = BodyLimit(16 * 1024, 50)
# 16 pairs of metadata are 111 KB and 33 tokens, the 500 ids of a new vector store's files 162 KB and 502 tokens.
SMALL_BODY = BodyLimit(512 * 1024, 5_000)
# 10,000 ids of files are 3.2 MB.
MEDIUM_BODY = BodyLimit(8 * 1024**2, 30_000)
# Lists of messages, tools and files.
LARGE_BODY = BodyLimit(16 * 1024**2, 200_000)
# 128 outputs, which have long texts.
OUTPUTS_BODY = BodyLimit(16 * 1024**2, 5_000)
# A body that is passed to a model is not parsed here. It may contain images.
PASSED_BODY = BodyLimit(64 * 1024**2, 1_000_000)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """An entry of the table. `path` is a pattern of aiohttp's, as under /v1 (Azure's paths follow from it).

    `versions` are the versions of the API that have the operation. `beta_header` is "optional" if SDKs do not send
    OpenAI-Beta there; a request without it is then read as v2 even if EVERTHREAD_BETA is "strict".

    `answer` names a schema of `service.http.openapi.samples`; None stands for any object, or for text if `media` is
    not JSON; `other_media` is text that a request may ask for instead. `past` is the handler of requests with the
    parameter `at`, which answers with objects as they were; None if the operation has no such parameter. `can_stream`:
    the answer may be a stream of server-sent events instead. `empty` says when the answer is a 204. `can_queue`: the
    request may carry the header Everthread-Busy; `can_cancel`: Everthread-On-Disconnect. `limit` bounds a body of JSON.
    """

    method: Method
    path: str
    handler: Handler
    summary: str
    _: KW_ONLY
    scope: Scope
    versions: tuple[Version, ...]
    beta_header: Literal["required", "optional"] = "required"
    access: Access = "key"
    cost: Cost = "request"
    body: Body | None = None
    limit: BodyLimit = SMALL_BODY
    query: tuple[Query, ...] = ()
    past: Handler | None = None
    answer: str | None = None
    media: str = "application/json"
    other_media: str | None = None
    can_stream: bool = False
    empty: str | None = None
    can_queue: bool = False
    can_cancel: bool = False

    @property
    def name(self) -> str:
        """The method and the pattern of the path, which no two entries share: "GET /v1/models/{model}"."""
        return f"{self.method} {self.plain_path}"

    @property
    def can_be_old(self) -> bool:
        """Whether the answer may come from a replica: it shows objects of views, which `at` shows as they were."""
        return self.past is not None

    @property
    def plain_path(self) -> str:
        """The path without the regular expressions of its parameters."""
        return _PATTERN.sub(r"{\1}", self.path)

    @property
    def parameters(self) -> list[str]:
        """The names of the path's parameters, in order."""
        return _PATTERN.findall(self.path)

    @property
    def operation_id(self) -> str:
        """The id of the operation in the OpenAPI document: "get_threads_thread_id"."""
        words = re.findall(r"\w+", self.plain_path.removeprefix("/v1"))
        return "_".join((self.method.lower(), *words))
