"""/v1/threads/{thread_id}/runs, with their steps"""

from __future__ import annotations

from service.http import past, replay, runs, steps, thread_stream
from service.http.route import BOTH, LARGE_BODY, OUTPUTS_BODY, JsonBody, Route, SignedToken
from service.wire.requests import MetadataChange, Outputs, Run, RunV1

_RUNS = "/v1/threads/{thread_id}/runs"
_RUN = _RUNS + "/{run_id}"

ROUTES = (
    Route(
        "GET",
        _RUNS,
        runs.page,
        "List a thread's runs",
        scope="read",
        versions=BOTH,
        query=("page",),
        answer="RunList",
        past=past.list_runs,
    ),
    Route(
        "POST",
        _RUNS,
        runs.create,
        "Run an assistant on a thread",
        scope="full",
        versions=BOTH,
        cost="tokens",
        body=JsonBody(Run, RunV1),
        limit=LARGE_BODY,
        query=("include",),
        answer="Run",
        can_stream=True,
        can_queue=True,
    ),
    Route("GET", _RUN, runs.get, "Retrieve a run", scope="read", versions=BOTH, answer="Run", past=past.get_run),
    Route(
        "POST",
        _RUN,
        runs.modify,
        "Modify a run's metadata",
        scope="full",
        versions=BOTH,
        body=JsonBody.same(MetadataChange),
        answer="Run",
    ),
    Route("POST", _RUN + "/cancel", runs.cancel, "Cancel a run", scope="full", versions=BOTH, answer="Run"),
    Route(
        "POST",
        _RUN + "/submit_tool_outputs",
        runs.submit_tool_outputs,
        "Submit the outputs of a run's tool calls",
        scope="full",
        versions=BOTH,
        cost="tokens",
        body=JsonBody.same(Outputs),
        limit=OUTPUTS_BODY,
        answer="Run",
        can_stream=True,
    ),
    Route(
        "GET",
        _RUN + "/stream",
        thread_stream.stream_run,
        "Watch a run as server-sent events from its beginning or any other point, with a key or a token of its thread",
        scope="read",
        versions=BOTH,
        access=SignedToken("stream", "thread_id"),
        query=("resumption", "include"),
        media="text/event-stream",
    ),
    Route(
        "GET",
        _RUN + "/replay",
        replay.page,
        "List the events of a run with the prompts, answers and costs of its model calls",
        scope="read",
        versions=BOTH,
        query=("replay",),
        answer="RunReplay",
    ),
    Route(
        "GET",
        _RUN + "/steps",
        steps.page,
        "List a run's steps",
        scope="read",
        versions=BOTH,
        query=("page", "include"),
        answer="RunStepList",
        past=past.list_steps,
    ),
    Route(
        "GET",
        _RUN + "/steps/{step_id}",
        steps.get,
        "Retrieve a run's step",
        scope="read",
        versions=BOTH,
        query=("include",),
        answer="RunStep",
        past=past.get_step,
    ),
)
