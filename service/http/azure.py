"""Azure's forms of the same operations, for the SDKs' AzureOpenAI clients.

Paths begin with /openai instead of /v1 and carry `?api-version=`, which overrides OpenAI-Beta there, because SDKs send
their own newest beta whatever version the client asked for. Azure's newer form, /openai/v1, is /v1 under another name.
The client of Azure AI agents (`azure-ai-agents`) has the paths of /v1 under its project, /api/projects/{project}, or
under the address alone, with
`?api-version=v1`, which means v2 there. The project in the path selects nothing: the key does.
The key comes in the header `api-key`, or as a bearer token. A deployment, in the path, is a model of the catalogue.
"""

from __future__ import annotations

import re

from aiohttp import web

from service.http.route import PassedBody, Route

PREFIX = "/openai"
PROJECT = "/api/projects/{azure_project}"
# The first api-version that speaks v2 of the Assistants API; dates compare as text.
FIRST_V2 = "2024-05-01"
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}")


def paths(route: Route) -> list[str]:
    """Returns Azure's patterns of the path of an operation; none if it is not under /v1."""
    if not route.path.startswith("/v1/"):
        return []
    rest = route.path.removeprefix("/v1")
    deployment = [f"{PREFIX}/deployments/{{deployment}}{rest}"] if isinstance(route.body, PassedBody) else []
    agents = [PROJECT + rest, rest] if "v2" in route.versions else []
    return [PREFIX + rest, f"{PREFIX}/v1{rest}", *agents, *deployment]


def betas(request: web.Request) -> list[str]:
    """Returns the version that `api-version` asks for, as OpenAI-Beta names it; empty if there is no api-version."""
    sent = request.query.get("api-version")
    if not sent or request.path.startswith(("/v1/", PREFIX + "/v1/")):
        return []
    return ["assistants=v1" if _DATED.match(sent) and sent[:10] < FIRST_V2 else "assistants=v2"]


def names_file(request: web.Request) -> bool:
    """Whether a form may hold the file's name in the field `filename`, as Azure AI agents send it."""
    return bool(request.query.get("api-version")) and not request.path.startswith(("/v1/", PREFIX + "/"))


def authorization(request: web.Request) -> str:
    """Returns the key as the header Authorization holds it, whichever of the two headers it came in."""
    key = request.headers.get("api-key")
    return f"Bearer {key}" if key else request.headers.get("Authorization", "")
