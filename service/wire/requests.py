"""The request bodies of both versions, and their conversion to `request_types`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, Strict, ValidationError

from events.errors import Rejection
from events.ids import IdSource
from events.objects import explicit_defaults
from events.thread.events import ToolOutput
from events.thread.run_settings import MAX_RUN_TOOLS
from service.wire import storable_text
from service.wire.fields import (
    MAX_ASSISTANT_TOOLS,
    MAX_IDENTIFIER,
    MAX_MESSAGES,
    MAX_OUTPUT,
    MAX_OUTPUTS,
    MAX_V1_ASSISTANT_FILES,
    Description,
    Flag,
    Identifier,
    Instructions,
    Metadata,
    MetadataV1,
    ModelName,
    Name,
    NestedObject,
    ReasoningEffort,
    RequestBody,
    ResponseFormat,
    ResponseFormatV1,
    Temperature,
    TokenBudget,
    ToolChoice,
    ToolChoiceV1,
    TopP,
    Truncation,
)
from service.wire.messages import Message, MessageV1
from service.wire.request_types import RunRequest, ThreadRequest, ToolOutputsRequest
from service.wire.tools import HasStorableSize, Tool, ToolResources, ToolV1
from service.wire.validation_errors import to_rejection

R = TypeVar("R", bound=RequestBody)
_FileIds = Annotated[list[Identifier], Field(fail_fast=True, max_length=MAX_V1_ASSISTANT_FILES)]


class Assistant(RequestBody):
    """POST /assistants of v2; with `model` optional also the modification."""

    model: ModelName
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=MAX_ASSISTANT_TOOLS), HasStorableSize] | None = None
    tool_resources: ToolResources | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: ReasoningEffort | None = None


class AssistantChange(Assistant):
    model: ModelName | None = None  # type: ignore[assignment]


class AssistantV1(RequestBody):
    model: ModelName
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    tools: Annotated[list[ToolV1], Field(fail_fast=True, max_length=MAX_ASSISTANT_TOOLS), HasStorableSize] | None = None
    file_ids: _FileIds | None = None
    metadata: MetadataV1 | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormatV1 | None = None


class AssistantChangeV1(AssistantV1):
    model: ModelName | None = None  # type: ignore[assignment]


class Thread(RequestBody):
    messages: Annotated[list[Message], Field(fail_fast=True, max_length=MAX_MESSAGES)] | None = None
    tool_resources: ToolResources | None = None
    metadata: Metadata | None = None


class ThreadV1(RequestBody):
    messages: Annotated[list[MessageV1], Field(fail_fast=True, max_length=MAX_MESSAGES)] | None = None
    metadata: MetadataV1 | None = None


class ThreadChange(RequestBody):
    tool_resources: ToolResources | None = None
    metadata: Metadata | None = None


class MetadataChange(RequestBody):
    metadata: Metadata | None = None


class MetadataChangeV1(RequestBody):
    metadata: MetadataV1 | None = None


class _AnyRun(RequestBody):
    """The fields that runs of both versions have."""

    assistant_id: Identifier
    model: ModelName | None = None
    instructions: Instructions | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: Flag | None = None
    max_prompt_tokens: TokenBudget | None = None
    max_completion_tokens: TokenBudget | None = None
    truncation_strategy: Truncation | None = None


class _RunV2(_AnyRun):
    metadata: Metadata | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=MAX_RUN_TOOLS), HasStorableSize] | None = None
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    parallel_tool_calls: Flag | None = None


class _RunV1(_AnyRun):
    metadata: MetadataV1 | None = None
    tools: Annotated[list[ToolV1], Field(fail_fast=True, max_length=MAX_RUN_TOOLS), HasStorableSize] | None = None
    tool_choice: ToolChoiceV1 | None = None
    response_format: ResponseFormatV1 | None = None


class Run(_RunV2):
    reasoning_effort: ReasoningEffort | None = None
    additional_instructions: Instructions | None = None
    additional_messages: Annotated[list[Message], Field(fail_fast=True, max_length=MAX_MESSAGES)] | None = None


class RunV1(_RunV1):
    additional_instructions: Instructions | None = None
    additional_messages: Annotated[list[MessageV1], Field(fail_fast=True, max_length=MAX_MESSAGES)] | None = None


class ThreadAndRun(_RunV2):
    thread: Thread | None = None
    tool_resources: ToolResources | None = None


class ThreadAndRunV1(_RunV1):
    thread: ThreadV1 | None = None


class Output(NestedObject):
    tool_call_id: Annotated[str, Strict(), Field(max_length=MAX_IDENTIFIER)]
    output: Annotated[str, Strict(), Field(max_length=MAX_OUTPUT)] | None = None


class Outputs(RequestBody):
    tool_outputs: Annotated[list[Output], Field(fail_fast=True, max_length=MAX_OUTPUTS)]
    stream: Flag | None = None


def parse_body(model: type[R], body: Any) -> R:
    """Returns the body as an instance of `model`; None is an empty object. Raises Rejection."""
    if body is not None and not isinstance(body, dict):
        raise Rejection("The request body must be a JSON object.")
    storable_text.require_storable(body)
    try:
        return model.model_validate({} if body is None else body)
    except ValidationError as error:
        raise to_rejection(error) from None


def given_fields(request: RequestBody, *leave_out: str) -> dict[str, Any]:
    """Returns the fields that the request gives a value, as plain JSON."""
    return {
        key: value
        for key, value in request.model_dump(exclude_unset=True, by_alias=True, exclude=set(leave_out)).items()
        if value is not None
    }


def explicit_defaults_field(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the field `explicit_defaults` of an assistant's settings, or no field if its list would be empty."""
    names = explicit_defaults(given)
    return {"explicit_defaults": names} if names else {}


def assistant_changes(settings: Mapping[str, Any], named: Iterable[str]) -> dict[str, Any]:
    """Returns the settings that a modification named. A null `model` keeps the model."""
    changes = {name: settings[name] for name in named if not (name == "model" and not settings["model"])}
    return changes | {name: settings[name] for name in ("explicit_defaults",) if name in settings}


def thread_request(request: Thread | ThreadV1 | None, resources: dict[str, Any], ids: IdSource) -> ThreadRequest:
    if request is None:
        return ThreadRequest({}, resources, ())
    return ThreadRequest(
        request.metadata or {}, resources, tuple(message.to_new_message(ids) for message in request.messages or ())
    )


def run_request(
    request: Run | RunV1 | ThreadAndRun | ThreadAndRunV1,
    overrides: dict[str, Any],
    ids: IdSource,
    *,
    allows_empty_prompt: bool = False,
) -> RunRequest:
    """`overrides` are the fields whose shapes differ between the versions."""
    extra = request.additional_messages if isinstance(request, Run | RunV1) else None
    shared = given_fields(
        request,
        "assistant_id",
        "stream",
        "tools",
        "thread",
        "tool_resources",
        "additional_instructions",
        "additional_messages",
    )
    if request.truncation_strategy is not None:
        shared["truncation_strategy"] = request.truncation_strategy.model_dump()
    return RunRequest(
        assistant_id=request.assistant_id,
        overrides=shared | overrides,
        additional_instructions=request.additional_instructions if isinstance(request, Run | RunV1) else None,
        additional_messages=tuple(message.to_new_message(ids) for message in extra or ()),
        stream=bool(request.stream),
        allows_empty_prompt=allows_empty_prompt,
    )


def tool_outputs_request(request: Outputs) -> ToolOutputsRequest:
    outputs = [ToolOutput(tool_call_id=one.tool_call_id, output=one.output or "") for one in request.tool_outputs]
    return ToolOutputsRequest(tuple(outputs), bool(request.stream))
