"""All routes. Paths are those of the original under /v1."""

from __future__ import annotations

from aiohttp import web

from service.http import assistants, health, messages, runs, steps, threads
from service.http.deps import DEPS, Deps
from service.http.errors import middleware
from service.http.frame import MAX_BODY, authenticate, identify
from service.http.passthrough import PASSED

_ASSISTANT = "/v1/assistants/{assistant_id}"
_THREAD = "/v1/threads/{thread_id}"
_MESSAGE = _THREAD + "/messages/{message_id}"
_RUN = _THREAD + "/runs/{run_id}"

ROUTES = (
    web.get("/healthz", health.healthz),
    web.get("/v1/assistants", assistants.page),
    web.post("/v1/assistants", assistants.create),
    web.get(_ASSISTANT, assistants.get),
    web.post(_ASSISTANT, assistants.modify),
    web.delete(_ASSISTANT, assistants.delete),
    web.post("/v1/threads", threads.create),
    web.post("/v1/threads/runs", runs.create_thread_and_run),
    web.get(_THREAD, threads.get),
    web.post(_THREAD, threads.modify),
    web.delete(_THREAD, threads.delete),
    web.get(_THREAD + "/messages", messages.page),
    web.post(_THREAD + "/messages", messages.create),
    web.get(_MESSAGE, messages.get),
    web.post(_MESSAGE, messages.modify),
    web.delete(_MESSAGE, messages.delete),
    web.get(_THREAD + "/runs", runs.page),
    web.post(_THREAD + "/runs", runs.create),
    web.get(_RUN, runs.get),
    web.post(_RUN, runs.modify),
    web.post(_RUN + "/cancel", runs.cancel),
    web.post(_RUN + "/submit_tool_outputs", runs.submit_tool_outputs),
    web.get(_RUN + "/steps", steps.page),
    web.get(_RUN + "/steps/{step_id}", steps.get),
)


def make_app(deps: Deps) -> web.Application:
    """The aiohttp application over its dependencies."""
    app = web.Application(middlewares=[identify, middleware, authenticate], client_max_size=MAX_BODY)
    app[DEPS] = deps
    app.add_routes([*ROUTES, *PASSED])
    return app
