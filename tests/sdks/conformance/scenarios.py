"""The list of scenarios: the user's program, the model's answers, and the observations that the test expects.

Each scenario is a function of its name in python/ and in javascript/, written as users of that language write, that
returns the observations. Ids and times are not among them: the programs compare them and report whether they agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.scripted import Reply, calls, cuts_off, errors, hangs, says

V1 = ("pypi-1.20.0", "npm-4.36.0")
V2 = ("pypi-1.65.5", "pypi-3.54.0", "npm-7.57.0")
SDKS = (*V1, *V2)
JAVASCRIPT = ("npm-4.36.0", "npm-7.57.0")

BEGUN = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
STEP = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE = [
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`sees` is the observation that every SDK makes, `otherwise` the different ones of some.

    `model` holds the model's answers in order. `absent` names the SDKs that lack the feature, with the reason.
    """

    name: str
    what: str
    sees: Mapping[str, Any]
    model: tuple[Reply, ...] = ()
    otherwise: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def expected(self, sdk: str) -> dict[str, Any]:
        return {**self.sees, **self.otherwise.get(sdk, {})}


def without(why: str, *sdks: str) -> dict[str, str]:
    return dict.fromkeys(sdks, why)


def refused(name: str, status: int, param: str | None, code: str | None) -> list[Any]:
    """Returns an error as the SDKs' programs print it."""
    return [name, status, "invalid_request_error", param, code]


TWO_CALLS = calls(("weather", {"city": "Paris"}), ("weather", {"city": "Rome"}))
THREE = says("", pieces=["x ", "is ", "1."])

SCENARIOS = (
    Scenario(
        "assistants",
        "assistants are made, read, changed, listed and deleted",
        {
            "made": ["assistant", "Tutor", None, "Be kind.", {"team": "a", "old": "1"}],
            "tool": ["function", "weather", {"type": "object", "properties": {"city": {"type": "string"}}}],
            "same": True,
            "changed": ["Guide", "Knows", "Be kind.", {"team": "b"}],
            "newest": True,
            "deleted": ["assistant.deleted", True, True],
            "gone": True,
        },
    ),
    Scenario(
        "assistants_paged",
        "the SDK's iterator turns the pages of a list; order, after and before",
        {
            "newest first": True,
            "after": ["Number 1", "Number 2", "Number 3"],
            "more": True,
            "following": ["Number 4"],
            "between": ["Number 3", "Number 2"],
        },
    ),
    Scenario(
        "threads",
        "threads are made, read, changed and deleted, with their messages",
        {
            "made": ["thread", {"user": "7"}],
            "same": True,
            "changed": {"user": "8"},
            "deleted": ["thread.deleted", True],
            "gone": True,
            "gone with it": True,
        },
    ),
    Scenario(
        "messages",
        "messages are made, read, changed and listed; one of another thread is not found",
        {
            "made": ["thread.message", "user", "text", "What is 1 + 1?", {"n": "1"}],
            "annotations": [],
            "of": [True, None, None],
            "same": True,
            "changed": {"n": "2"},
            "listed": [True],
            "elsewhere": True,
        },
    ),
    Scenario(
        "messages_paged",
        "seven messages in pages of three, in both orders",
        {"page": ["Number 6", "Number 5", "Number 4"], "pages": 3, "newest first": True, "oldest first": True},
        otherwise={sdk: {"pages": 4} for sdk in V1},  # older SDKs ignore has_more and read on to an empty page
    ),
    Scenario(
        "message_deleted",
        "a message is deleted",
        {"deleted": ["thread.message.deleted", True, True], "left": 0},
        absent=without("v1's SDKs delete no messages", *V1),
    ),
    Scenario(
        "message_parts",
        "a message of text and image_url, and one of role assistant",
        {"parts": ["What is this?", "https://example.com/cat.png", "low"], "roles": ["user", "assistant"]},
        absent=without("v1 has neither", *V1),
    ),
    Scenario(
        "run_by_hand",
        "a run, asked for until it has ended; its step, its message, its usage; its metadata changed",
        {
            "first": "queued",
            "status": "completed",
            "model": True,
            "said": [["assistant", "x is 1."], ["user", "Well?"]],
            "usage": [7, 3, 10],
            "step": ["message_creation", "completed", True, True],
            "of": [True, True, True],
            "changed": {"seen": "yes"},
            "listed": [True],
        },
        (THREE,),
    ),
    Scenario(
        "run_polled",
        "create_and_poll, poll",
        {
            "status": "completed",
            "said": [["assistant", "x is 1."], ["user", "Well?"]],
            "settings": ["Be brief.\nSay please.", 0.5, {"a": "b"}],
            "polled": "completed",
        },
        (THREE,),
    ),
    Scenario(
        "thread_and_run_polled",
        "create_and_run_poll",
        {"status": "completed", "said": [["assistant", "x is 1."], ["user", "Together"]]},
        (THREE,),
    ),
    Scenario(
        "functions_polled",
        "two parallel function calls; one output alone is refused; submit_tool_outputs_and_poll",
        {
            "first": "requires_action",
            "asked": [["function", "weather", "Paris"], ["function", "weather", "Rome"]],
            "partial": "refused",
            "status": "completed",
            "answer": "Sunny in both.",
            "steps": [["tool_calls", "completed"], ["message_creation", "completed"]],
            "outputs": ["sun", "sun"],
            "action": None,
        },
        (TWO_CALLS, says("Sunny in both.")),
    ),
    Scenario(
        "cancelled",
        "a run is cancelled while the model speaks; its thread is locked until then",
        {"first": "cancelling", "status": "cancelled", "locked": True, "error": None},
        (hangs(after=2),),
    ),
    Scenario(
        "failed",
        "a run that the model's server refuses says why",
        {"status": "failed", "code": "invalid_prompt", "real cause": True},
        (errors(400, {"error": {"message": "prompt is odd", "type": "invalid_request_error", "code": None}}),),
    ),
    Scenario(
        "cut_short",
        "an answer that the token limit cut",
        {"status": "incomplete", "said": "Once upon a"},
        (cuts_off("Once upon a"),),
        otherwise={sdk: {"status": "completed"} for sdk in V1},  # v1 has no status "incomplete"
    ),
    Scenario(
        "settings_echoed",
        "a run's own settings stand before its assistant's",
        {
            "instructions": "Only this.",
            "limits": [1000, 500],
            "truncation": ["last_messages", 3],
            "choice": "none",
            "format": "json_object",
            "tools": ["other"],
        },
        (says("{}"),),
    ),
    Scenario(
        "steps_included",
        "steps asked for with include[]; an unknown one is refused",
        {"listed": ["message_creation"], "same": True, "unknown": "refused"},
        (THREE,),
        absent=without("v1 has no include[]", *V1),
    ),
    Scenario(
        "run_streamed",
        "runs.stream with an event handler: every callback, snapshots, final messages, steps and run",
        {
            "events": [*BEGUN, *STEP, *MESSAGE],
            "text": "x is 1.",
            "snapshot": "x is 1.",
            "done": [
                "step created",
                "message created",
                "text created",
                "text done: x is 1.",
                "message completed",
                "step completed",
                "end",
            ],
            "final": ["completed", "x is 1.", "message_creation", "completed"],
            "stored": "x is 1.",
        },
        (THREE,),
    ),
    Scenario("text_deltas", "a stream read piece by piece", {"pieces": ["x ", "is ", "1."]}, (THREE,)),
    Scenario(
        "older_stream_helper",
        "create_and_stream, as runs.stream was called first",
        {"text": "x is 1.", "status": "completed"},
        (THREE,),
    ),
    Scenario(
        "stream_without_helper",
        "runs.create(stream=True), event by event",
        {"text": "x is 1.", "first": "thread.run.created", "last": "thread.run.completed"},
        (THREE,),
    ),
    Scenario(
        "thread_and_run_streamed",
        "create_and_run_stream",
        {"events": ["thread.created", *BEGUN], "text": "x is 1."},
        (THREE,),
    ),
    Scenario(
        "functions_streamed",
        "two parallel function calls in a stream, then submit_tool_outputs_stream",
        {
            "first": [*BEGUN, *STEP, "thread.run.step.delta", "thread.run.requires_action"],
            "calls": [
                {"type": "function", "name": "weather", "arguments": '{"city":"Paris"}'},
                {"type": "function", "name": "weather", "arguments": '{"city":"Rome"}'},
            ],
            "asked": [["weather", '{"city":"Paris"}'], ["weather", '{"city":"Rome"}']],
            "second": ["thread.run.step.completed", *BEGUN[1:], *STEP, *MESSAGE],
            "text": "Sunny in both.",
            "status": "completed",
        },
        (TWO_CALLS, says("Sunny in both.")),
        # Its listeners get only the first of several calls, and mix the pieces of all into that one.
        otherwise={
            "npm-4.36.0": {
                "calls": [{"type": "function", "name": "weather", "arguments": '{"city":"Paris"}{"city":"Rome"}'}]
            }
        },
    ),
    Scenario(
        "failure_streamed",
        "a run that fails in a stream",
        {"last": "thread.run.failed", "status": "failed", "code": "invalid_prompt"},
        (errors(400, {"error": {"message": "prompt is odd", "type": "invalid_request_error", "code": None}}),),
    ),
    Scenario(
        "asynchronous",
        "AsyncOpenAI with AsyncAssistantEventHandler",
        {"text": "x is 1.", "status": "completed", "messages": ["assistant", "assistant", "user"]},
        (THREE, says("Again.")),
        absent=without("its only client is asynchronous", *JAVASCRIPT),
    ),
    Scenario(
        "files",
        "a file with a Unicode name is made, read, waited for, listed, downloaded and deleted",
        {
            "made": ["file", "Grüße.txt", "assistants", 16000],
            "same": True,
            "ready": "processed",
            "listed": 2,
            "content": True,
            "deleted": ["file", True],
            "gone": True,
        },
    ),
    Scenario(
        "uploads",
        "an upload in two parts is completed, another cancelled",
        {
            "made": ["upload", "pending"],
            "done": ["completed", "big.txt", 16000],
            "content": True,
            "dropped": "cancelled",
        },
        absent=without("uploads came after it", *V1),
    ),
    Scenario(
        "upload_in_chunks",
        "upload_file_chunked",
        {"status": "completed", "content": True},
        absent={
            **without("uploads came after it", *V1),
            "npm-7.57.0": "it has no such helper",
        },
    ),
    Scenario(
        "file_ids",
        "v1's file_ids and the files of assistants and messages; the file itself survives",
        {
            "made": ["assistant.file", True, True],
            "listed": [True, True],
            "read": True,
            "deleted": ["assistant.file.deleted", True, True, True],
            "message": [True, "thread.message.file", True, True],
        },
        absent=without("v2 has none", *V2),
    ),
    Scenario(
        "attachments",
        "tool_resources and attachments; an attachment joins its thread's resources",
        {"assistant": True, "message": [[True, ["code_interpreter"]]], "thread": True},
        absent=without("v1 has none", *V1),
    ),
    Scenario(
        "not_found",
        "what is not there is the SDK's NotFoundError",
        {
            "message": "No assistant found with id 'asst_none'.",
            "assistant": refused("NotFoundError", 404, None, None),
            "run": refused("NotFoundError", 404, None, None),
            "assistant of a run": refused("NotFoundError", 404, None, None),
            "file": refused("NotFoundError", 404, "id", None),
        },
    ),
    Scenario(
        "bad_request",
        "what is wrong is the SDK's BadRequestError, with param and code",
        {
            "value": refused("BadRequestError", 400, "limit", "integer_above_max_value"),
            "type": refused("BadRequestError", 400, "metadata", "invalid_type"),
            "unknown": refused("BadRequestError", 400, "surprise", "unknown_parameter"),
            "missing": refused("BadRequestError", 400, "model", "missing_required_parameter"),
            "purpose": refused("BadRequestError", 400, "purpose", None),
        },
    ),
    Scenario(
        "wrong_key",
        "a wrong key is the SDK's AuthenticationError",
        {"error": refused("AuthenticationError", 401, None, "invalid_api_key")},
    ),
    Scenario(
        "chat",
        "chat completions pass through, whole and streamed; models are listed",
        {"whole": "x is 1.", "usage": 10, "pieces": ["x ", "is ", "1."], "models": ["scripted"]},
        (THREE, THREE),
    ),
    Scenario(
        "azure",
        "AzureOpenAI: an assistant, a run polled, a run streamed, chat completions",
        {"status": "completed", "streamed": "Again.", "stored": "Again.", "chat": "x is 1."},
        (THREE, says("Again."), THREE),
        absent={"npm-4.36.0": "AzureOpenAI came with npm 4.42"},
    ),
    Scenario(
        "raw_responses",
        "the response itself beside the object, with the headers that every answer carries",
        {
            "status": 200,
            "parsed": ["thread", {"a": "b"}],
            "request id": True,
            "version": "2020-10-01",
            "time": True,
            "type": "application/json",
        },
    ),
    Scenario("organization", "OpenAI-Organization is taken and echoed", {"echoed": "org-ours"}),
)
