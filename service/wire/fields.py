"""The fields that requests are made of, and every limit with its name (docs/behaviour.md, "Limits")."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Strict, Tag
from pydantic_core import PydanticCustomError

from service.wire.integers import known

MAX_NAME = 256
MAX_DESCRIPTION = 512
MAX_INSTRUCTIONS = 256_000
MAX_CONTENT = 256_000
MAX_ASSISTANT_TOOLS = 128
MAX_RUN_TOOLS = 20
MIN_TOKEN_BUDGET = 256
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MAX_CODE_FILES = 20
MAX_V1_ASSISTANT_FILES = 20
MAX_V1_MESSAGE_FILES = 10
MAX_VECTOR_STORES = 1
MAX_HELPER_FILES = 10_000
MAX_FUNCTION_NAME = 64
# Ours: the original tells none. They keep one request's cost within bounds.
MAX_MODEL_NAME = 256
MAX_MESSAGES = 10_000
MAX_PARTS = 1_000
MAX_ATTACHMENTS = 500
MAX_OUTPUTS = 128
MAX_OUTPUT = 4_000_000
MAX_DEPTH = 100
MAX_COUNT = 2**31 - 1
MAX_PAGE = 100
DEFAULT_PAGE = 20
MAX_FILES_PAGE = 10_000


class Request(BaseModel):
    """Base of request bodies: unknown keys are refused, where the document says so."""

    model_config = ConfigDict(extra="forbid")


class Loose(BaseModel):
    """Base of nested objects: the document lets them have more keys, which are dropped."""

    model_config = ConfigDict(extra="ignore")


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]


def _shallow(value: Any) -> Any:
    """Free JSON no deeper than MAX_DEPTH, of known numbers: what is stored must be writable and readable everywhere."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise PydanticCustomError("too_deep", "nested deeper than {depth} levels", {"depth": MAX_DEPTH})
        nested: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                nested += item.values()
            elif isinstance(item, list):
                nested += item
            else:
                known(item)
        level = nested
    return value


FreeObject = Annotated[dict[str, Any], Strict(), AfterValidator(_shallow)]
Name = Annotated[str, Strict(), Field(max_length=MAX_NAME)]
Description = Annotated[str, Strict(), Field(max_length=MAX_DESCRIPTION)]
Instructions = Annotated[str, Strict(), Field(max_length=MAX_INSTRUCTIONS)]
ModelName = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_MODEL_NAME)]
Metadata = Annotated[
    dict[
        Annotated[str, Strict(), Field(max_length=MAX_METADATA_KEY)],
        Annotated[str, Strict(), Field(max_length=MAX_METADATA_VALUE)],
    ],
    Field(max_length=MAX_METADATA_PAIRS),
]
Temperature = Annotated[float, Strict(), Field(ge=0, le=2)]
TopP = Annotated[float, Strict(), Field(ge=0, le=1)]
TokenBudget = Annotated[int, Strict(), Field(ge=MIN_TOKEN_BUDGET, le=MAX_COUNT)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Identifier = Annotated[str, Strict(), Field(min_length=1)]
FunctionName = Annotated[str, Strict(), Field(max_length=MAX_FUNCTION_NAME, pattern=r"^[a-zA-Z0-9_-]+$")]


def by_type(*values: str) -> Discriminator:
    """Tells the alternatives of a union apart by their `type`; tags are "|" and the type.

    The error's message is for `problems`: what JSON is expected, and its types. (A context would not be hashable.)
    """

    def tag(value: Any) -> str | None:
        found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return f"|{found}" if isinstance(found, str) and found in values else None

    return Discriminator(tag, "bad_tag", f"an object;{','.join(values)}")


def by_kind(kinds: dict[type, str], expected: str) -> Discriminator:
    """Tells the alternatives of a union apart by their JSON type."""

    def tag(value: Any) -> str | None:
        return next((name for kind, name in kinds.items() if isinstance(value, kind)), None)

    return Discriminator(tag, "bad_tag", f"{expected};")


class JsonSchema(Loose):
    name: FunctionName
    description: Text | None = None
    schema_: Annotated[FreeObject | None, Field(alias="schema")] = None
    strict: Flag | None = None


class FormatText(Loose):
    type: Literal["text"]


class FormatJsonObject(Loose):
    type: Literal["json_object"]


class FormatJsonSchema(Loose):
    type: Literal["json_schema"]
    json_schema: JsonSchema


_FORMAT_KINDS: dict[type, str] = {str: "|word", dict: "|format", BaseModel: "|format"}
_FormatObject = Annotated[
    Annotated[FormatText, Tag("|text")]
    | Annotated[FormatJsonObject, Tag("|json_object")]
    | Annotated[FormatJsonSchema, Tag("|json_schema")],
    by_type("text", "json_object", "json_schema"),
]
ResponseFormat = Annotated[
    Annotated[Literal["auto"], Tag("|word")] | Annotated[_FormatObject, Tag("|format")],
    by_kind(_FORMAT_KINDS, "one of 'auto' or an object"),
]
_FormatObjectV1 = Annotated[
    Annotated[FormatText, Tag("|text")] | Annotated[FormatJsonObject, Tag("|json_object")],
    by_type("text", "json_object"),
]
# v1's "none" says what "auto" does.
ResponseFormatV1 = Annotated[
    Annotated[Literal["none", "auto"], AfterValidator(lambda _: "auto"), Tag("|word")]
    | Annotated[_FormatObjectV1, Tag("|format")],
    by_kind(_FORMAT_KINDS, "one of a string or an object"),
]


class Truncation(Loose):
    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Strict(), Field(ge=1, le=MAX_COUNT)] | None = None


class ChosenFunction(Loose):
    name: Identifier


class NamedChoice(Loose):
    type: Literal["function", "code_interpreter", "file_search"]
    function: ChosenFunction | None = None


class NamedChoiceV1(Loose):
    type: Literal["function", "code_interpreter", "retrieval"]
    function: ChosenFunction | None = None


_CHOICE_KINDS: dict[type, str] = {str: "|word", dict: "|named", BaseModel: "|named"}
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("|word")] | Annotated[NamedChoice, Tag("|named")],
    by_kind(_CHOICE_KINDS, "one of a string or an object"),
]
ToolChoiceV1 = Annotated[
    Annotated[Literal["none", "auto"], Tag("|word")] | Annotated[NamedChoiceV1, Tag("|named")],
    by_kind(_CHOICE_KINDS, "one of a string or an object"),
]
