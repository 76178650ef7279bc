"""The types of fields in request bodies, and every limit by name (docs/behaviour.md, "Limits")."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from service.wire import json_schemas
from service.wire.integers import require_64_bits
from service.wire.metadata_texts import to_metadata_texts

MAX_NAME = 256
MAX_DESCRIPTION = 512
MAX_INSTRUCTIONS = 256_000
MAX_CONTENT = 256_000
MAX_ASSISTANT_TOOLS = 128
# The document says 256, but the original accepted and echoed 16 (docs/behaviour.md, "Limits").
MIN_TOKEN_BUDGET = 1
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MAX_CODE_FILES = 20
MAX_V1_ASSISTANT_FILES = 20
MAX_V1_MESSAGE_FILES = 10
MAX_VECTOR_STORES = 1
MAX_HELPER_FILES = 10_000
MAX_FUNCTION_NAME = 64
# Limits of our own, which bound the cost of a request. The original API documents none for these.
MAX_MODEL_NAME = 256
MAX_MESSAGES = 1_000
MAX_PARTS = 1_000
MAX_ATTACHMENTS = 500
MAX_ATTACHMENT_TOOLS = 16
MAX_IDENTIFIER = 1_024
MAX_SCHEMA_DESCRIPTION = 16_384
# Bytes of the JSON of a function's parameters or of a response's schema, and of all functions of an object.
MAX_SCHEMA_BYTES = 128 * 1024
MAX_TOOLS_BYTES = 512 * 1024
MAX_OUTPUTS = 128
MAX_OUTPUT = 4_000_000
MAX_DEPTH = 100
MAX_COUNT = 2**31 - 1
MAX_PAGE = 100
DEFAULT_PAGE = 20
MAX_FILES_PAGE = 10_000


class RequestBody(BaseModel):
    """Base of request bodies. Unknown keys are refused, as the OpenAPI document of the original says.

    The first request of a kind builds the validator of its class (`defer_build`), so that a server starts sooner.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_unknown_keys(cls, value: Any) -> Any:
        """Leaves the first unknown key only. The error names no other, and pydantic takes 6 µs for each error."""
        if not isinstance(value, dict) or len(value) <= len(cls.model_fields):
            return value
        known = {field.alias or name for name, field in cls.model_fields.items()}
        unknown = [key for key in value if key not in known]
        return {key: item for key, item in value.items() if key in known or key == unknown[0]}


class NestedObject(BaseModel):
    """Base of objects inside a body. The document allows unknown keys in them, which are dropped."""

    model_config = ConfigDict(extra="ignore", defer_build=True)


StrictText = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]


def _check_free_json(value: Any) -> Any:
    """Raises PydanticCustomError for JSON deeper than MAX_DEPTH, longer than MAX_SCHEMA_BYTES, or with integers beyond
    64 bits.

    Such JSON could not be written and read again everywhere that it is stored, or would slow every list down.
    """
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
                require_64_bits(item)
        level = nested
    size = len(orjson.dumps(value))
    if size > MAX_SCHEMA_BYTES:
        raise too_many_bytes(MAX_SCHEMA_BYTES, size)
    return value


def too_many_bytes(most: int, size: int) -> PydanticCustomError:
    """Returns the error for JSON of more bytes than it may have."""
    message = "too large. Expected at most {most} bytes of JSON, but got {size} bytes instead."
    return PydanticCustomError("too_many_bytes", message, {"most": most, "size": size})


FreeObject = Annotated[dict[str, Any], Strict(), AfterValidator(_check_free_json)]
Name = Annotated[str, Strict(), Field(max_length=MAX_NAME)]
Description = Annotated[str, Strict(), Field(max_length=MAX_DESCRIPTION)]
Instructions = Annotated[str, Strict(), Field(max_length=MAX_INSTRUCTIONS)]
ModelName = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_MODEL_NAME)]


def has_at_most(pairs: int) -> BeforeValidator:
    """Refuses an object of more pairs before pydantic checks each of them."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > pairs:
            context = {"field_type": "Dictionary", "max_length": pairs, "actual_length": len(value)}
            raise PydanticKnownError("too_long", context)
        return value

    return BeforeValidator(check)


Metadata = Annotated[
    dict[
        Annotated[str, Strict(), Field(max_length=MAX_METADATA_KEY)],
        Annotated[str, Strict(), Field(max_length=MAX_METADATA_VALUE)],
    ],
    Field(max_length=MAX_METADATA_PAIRS),
    has_at_most(MAX_METADATA_PAIRS),
]
MetadataV1 = Annotated[Metadata, BeforeValidator(to_metadata_texts)]
Temperature = Annotated[float, Strict(), Field(ge=0, le=2)]
TopP = Annotated[float, Strict(), Field(ge=0, le=1)]
TokenBudget = Annotated[int, Strict(), Field(ge=MIN_TOKEN_BUDGET, le=MAX_COUNT)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Identifier = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_IDENTIFIER)]
FunctionName = Annotated[str, Strict(), Field(max_length=MAX_FUNCTION_NAME, pattern=r"^[a-zA-Z0-9_-]+$")]


def union_by_type(*values: str) -> Discriminator:
    """Selects the alternative of a union by the object's `type`. The tag of an alternative is "|" and its type.

    `validation_errors` reads the expected JSON type and the values of `type` from the error's message, because pydantic
    needs a hashable discriminator and an error context is not hashable.
    """

    def tag(value: Any) -> str | None:
        found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return f"|{found}" if isinstance(found, str) and found in values else None

    return Discriminator(tag, "bad_tag", f"an object;{','.join(values)}")


def union_by_json_type(tags: dict[type, str], expected: str) -> Discriminator:
    """Selects the alternative of a union by the value's JSON type. `expected` describes the types for the error."""

    def tag(value: Any) -> str | None:
        return next((name for type_, name in tags.items() if isinstance(value, type_)), None)

    return Discriminator(tag, "bad_tag", f"{expected};")


def raise_schema_problem(subject: str, problem: str | None, *, param: str | None) -> None:
    """Raises PydanticCustomError if there is a problem. `validation_errors` takes its text and `param` as they are."""
    if problem is not None:
        text = f"{subject}: {problem}"
        raise PydanticCustomError("invalid_schema", "{text}", {"text": text, "param": param})


class JsonSchema(NestedObject):
    name: FunctionName
    description: Annotated[str, Strict(), Field(max_length=MAX_SCHEMA_DESCRIPTION)] | None = None
    schema_: Annotated[FreeObject | None, Field(alias="schema")] = None
    strict: Flag | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if self.schema_ is not None:
            problem = json_schemas.format_problem(self.schema_, strict=bool(self.strict))
            raise_schema_problem(f"Invalid schema for response_format '{self.name}'", problem, param="response_format")
        return self


class FormatText(NestedObject):
    type: Literal["text"]


class FormatJsonObject(NestedObject):
    type: Literal["json_object"]


class FormatJsonSchema(NestedObject):
    type: Literal["json_schema"]
    json_schema: JsonSchema


_FORMAT_JSON_TYPES: dict[type, str] = {str: "|word", dict: "|format", BaseModel: "|format"}
_FormatObject = Annotated[
    Annotated[FormatText, Tag("|text")]
    | Annotated[FormatJsonObject, Tag("|json_object")]
    | Annotated[FormatJsonSchema, Tag("|json_schema")],
    union_by_type("text", "json_object", "json_schema"),
]
ResponseFormat = Annotated[
    Annotated[Literal["auto"], Tag("|word")] | Annotated[_FormatObject, Tag("|format")],
    union_by_json_type(_FORMAT_JSON_TYPES, "one of 'auto' or an object"),
]
_FormatObjectV1 = Annotated[
    Annotated[FormatText, Tag("|text")] | Annotated[FormatJsonObject, Tag("|json_object")],
    union_by_type("text", "json_object"),
]
# "none" in v1 means the same as "auto".
ResponseFormatV1 = Annotated[
    Annotated[Literal["none", "auto"], AfterValidator(lambda _: "auto"), Tag("|word")]
    | Annotated[_FormatObjectV1, Tag("|format")],
    union_by_json_type(_FORMAT_JSON_TYPES, "one of a string or an object"),
]


class Truncation(NestedObject):
    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Strict(), Field(ge=1, le=MAX_COUNT)] | None = None


class ChosenFunction(NestedObject):
    name: Identifier


class NamedChoice(NestedObject):
    type: Literal["function", "code_interpreter", "file_search"]
    function: ChosenFunction | None = None


class NamedChoiceV1(NestedObject):
    type: Literal["function", "code_interpreter", "retrieval"]
    function: ChosenFunction | None = None


_CHOICE_JSON_TYPES: dict[type, str] = {str: "|word", dict: "|named", BaseModel: "|named"}
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("|word")] | Annotated[NamedChoice, Tag("|named")],
    union_by_json_type(_CHOICE_JSON_TYPES, "one of a string or an object"),
]
ToolChoiceV1 = Annotated[
    Annotated[Literal["none", "auto"], Tag("|word")] | Annotated[NamedChoiceV1, Tag("|named")],
    union_by_json_type(_CHOICE_JSON_TYPES, "one of a string or an object"),
]
