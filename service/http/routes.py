"""All routes. Paths are those of the original under /v1."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from service.http import (
    assistants,
    azure,
    cors,
    files,
    health,
    messages,
    runs,
    steps,
    thread_stream,
    threads,
    tokens,
    uploads,
    v1_files,
    vector_store_files,
    vector_stores,
    webhooks,
)
from service.http.bodies import MAX_BODY
from service.http.context import DEPS, Deps
from service.http.errors import middleware
from service.http.idempotency import idempotent
from service.http.metrics import metrics
from service.http.middleware import authenticate, identify, tell_extra
from service.http.openapi import pages
from service.http.passthrough import PASSED
from service.http.tracing import Traces, traced

_FILE = "/v1/files/{file_id}"
_UPLOAD = "/v1/uploads/{upload_id}"
_ASSISTANT = "/v1/assistants/{assistant_id}"
_THREAD = "/v1/threads/{thread_id}"
_WEBHOOK = "/v1/webhook_endpoints/{webhook_endpoint_id}"
_MESSAGE = _THREAD + "/messages/{message_id}"
_STORE = "/v1/vector_stores/{vector_store_id}"
_BATCH = _STORE + "/file_batches/{batch_id}"
_RUN = _THREAD + "/runs/{run_id}"

ROUTES = (
    web.get("/healthz", health.healthz),
    web.get("/metrics", metrics),
    web.get("/v1/files", files.page),
    web.post("/v1/files", files.create),
    web.get(_FILE, files.get),
    web.delete(_FILE, files.delete),
    web.get(_FILE + "/content", files.content),
    web.post(_FILE + "/links", tokens.link),
    web.post("/v1/uploads", uploads.create),
    web.post(_UPLOAD + "/parts", uploads.add_part),
    web.post(_UPLOAD + "/complete", uploads.complete),
    web.post(_UPLOAD + "/cancel", uploads.cancel),
    web.get("/v1/assistants", assistants.page),
    web.post("/v1/assistants", assistants.create),
    web.get(_ASSISTANT, assistants.get),
    web.post(_ASSISTANT, assistants.modify),
    web.delete(_ASSISTANT, assistants.delete),
    web.get(_ASSISTANT + "/files", v1_files.assistant_page),
    web.post(_ASSISTANT + "/files", v1_files.attach),
    web.get(_ASSISTANT + "/files/{file_id}", v1_files.assistant_file),
    web.delete(_ASSISTANT + "/files/{file_id}", v1_files.detach),
    web.get("/v1/threads", threads.page),
    web.post("/v1/threads", threads.create),
    web.post("/v1/threads/runs", runs.create_thread_and_run),
    web.get(_THREAD, threads.get),
    web.post(_THREAD, threads.modify),
    web.delete(_THREAD, threads.delete),
    web.post(_THREAD + "/stream_tokens", tokens.stream_token),
    web.get(_THREAD + "/stream", thread_stream.stream),
    web.get(_THREAD + "/messages", messages.page),
    web.post(_THREAD + "/messages", messages.create),
    web.get(_MESSAGE, messages.get),
    web.post(_MESSAGE, messages.modify),
    web.delete(_MESSAGE, messages.delete),
    web.get(_MESSAGE + "/files", v1_files.message_page),
    web.get(_MESSAGE + "/files/{file_id}", v1_files.message_file),
    web.get(_THREAD + "/runs", runs.page),
    web.post(_THREAD + "/runs", runs.create),
    web.get(_RUN, runs.get),
    web.post(_RUN, runs.modify),
    web.post(_RUN + "/cancel", runs.cancel),
    web.post(_RUN + "/submit_tool_outputs", runs.submit_tool_outputs),
    web.get(_RUN + "/steps", steps.page),
    web.get(_RUN + "/steps/{step_id}", steps.get),
    web.get("/v1/vector_stores", vector_stores.page),
    web.post("/v1/vector_stores", vector_stores.create),
    web.get(_STORE, vector_stores.get),
    web.post(_STORE, vector_stores.modify),
    web.delete(_STORE, vector_stores.delete),
    web.post(_STORE + "/search", vector_stores.search),
    web.get(_STORE + "/files", vector_store_files.page),
    web.post(_STORE + "/files", vector_store_files.add),
    web.get(_STORE + "/files/{file_id}", vector_store_files.get),
    web.post(_STORE + "/files/{file_id}", vector_store_files.change_attributes),
    web.delete(_STORE + "/files/{file_id}", vector_store_files.remove),
    web.get(_STORE + "/files/{file_id}/content", vector_store_files.content),
    web.post(_STORE + "/file_batches", vector_store_files.create_batch),
    web.get(_BATCH, vector_store_files.get_batch),
    web.post(_BATCH + "/cancel", vector_store_files.cancel_batch),
    web.get(_BATCH + "/files", vector_store_files.batch_page),
    web.get("/v1/webhook_endpoints", webhooks.page),
    web.post("/v1/webhook_endpoints", webhooks.create),
    web.get(_WEBHOOK, webhooks.get),
    web.post(_WEBHOOK, webhooks.modify),
    web.delete(_WEBHOOK, webhooks.delete),
    web.post(_WEBHOOK + "/rotate_secret", webhooks.rotate_secret),
    web.post(_WEBHOOK + "/test", webhooks.send_test),
)


def make_app(deps: Deps, cors_origins: Sequence[str] = (), traces: Traces | None = None) -> web.Application:
    """The aiohttp application over its dependencies."""
    app = web.Application(middlewares=[identify, middleware, authenticate, idempotent], client_max_size=MAX_BODY)
    if traces is not None:
        app.middlewares.insert(1, traced(traces))
    cors.install(app, cors_origins)
    app[DEPS] = deps
    app.on_response_prepare.append(tell_extra)
    own = [*ROUTES, *PASSED]
    app.add_routes([*own, *azure.routes(own), *pages.routes(own)])
    return app
