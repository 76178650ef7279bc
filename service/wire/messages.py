"""Parses the messages in requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, Strict, Tag
from pydantic_core import PydanticCustomError

from events.ids import IdSource
from events.objects import Json
from events.thread.commands import NewMessage
from service.wire.fields import (
    MAX_ATTACHMENT_TOOLS,
    MAX_ATTACHMENTS,
    MAX_CONTENT,
    MAX_PARTS,
    MAX_V1_MESSAGE_FILES,
    Identifier,
    Metadata,
    MetadataV1,
    NestedObject,
    RequestBody,
    union_by_json_type,
    union_by_type,
)
from service.wire.image_urls import check_image_url
from service.wire.tools import CodeTool

Content = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_CONTENT)]
_TOOLS = ({"type": "file_search"}, {"type": "code_interpreter"})
Detail = Literal["auto", "low", "high"]


class TextPart(NestedObject):
    type: Literal["text"]
    text: Content


class ImageUrl(NestedObject):
    url: Annotated[str, Strict(), Field(min_length=1), AfterValidator(check_image_url)]
    detail: Detail = "auto"


class ImageUrlPart(NestedObject):
    type: Literal["image_url"]
    image_url: ImageUrl


class ImageFile(NestedObject):
    file_id: Identifier
    detail: Detail = "auto"


class ImageFilePart(NestedObject):
    type: Literal["image_file"]
    image_file: ImageFile


Part = Annotated[
    Annotated[TextPart, Tag("|text")]
    | Annotated[ImageUrlPart, Tag("|image_url")]
    | Annotated[ImageFilePart, Tag("|image_file")],
    union_by_type("text", "image_url", "image_file"),
]


def _check_text(parts: list[TextPart | ImageUrlPart | ImageFilePart]) -> list[TextPart | ImageUrlPart | ImageFilePart]:
    """Raises PydanticCustomError if the texts have more than MAX_CONTENT characters in total."""
    length = sum(len(part.text) for part in parts if isinstance(part, TextPart))
    if length > MAX_CONTENT:
        message = "texts too long. Expected at most {most} characters in total, but got {length} instead."
        raise PydanticCustomError("texts_too_long", message, {"most": MAX_CONTENT, "length": length})
    return parts


Parts = Annotated[list[Part], Field(fail_fast=True, min_length=1, max_length=MAX_PARTS), AfterValidator(_check_text)]


class SearchOnly(NestedObject):
    type: Literal["file_search"]


AttachmentTool = Annotated[
    Annotated[CodeTool, Tag("|code_interpreter")] | Annotated[SearchOnly, Tag("|file_search")],
    union_by_type("code_interpreter", "file_search"),
]


class Attachment(NestedObject):
    file_id: Identifier
    tools: Annotated[list[AttachmentTool], Field(fail_fast=True, max_length=MAX_ATTACHMENT_TOOLS)]


class Message(RequestBody):
    """A message of v2."""

    role: Literal["user", "assistant"]
    content: Annotated[
        Annotated[Content, Tag("|whole")] | Annotated[Parts, Tag("|parts")],
        union_by_json_type({str: "|whole", list: "|parts"}, "one of a string or array of objects"),
    ]
    attachments: Annotated[list[Attachment], Field(fail_fast=True, max_length=MAX_ATTACHMENTS)] | None = None
    metadata: Metadata | None = None

    def to_new_message(self, ids: IdSource) -> NewMessage:
        """Returns the message with a new id."""
        parts = [_text(self.content)] if isinstance(self.content, str) else [_part(part) for part in self.content]
        attachments = [attachment.model_dump() for attachment in self.attachments or ()]
        return _new_message(self, parts, attachments, ids)


class MessageV1(RequestBody):
    """A message of v1: text, and files by id."""

    role: Literal["user", "assistant"]
    content: Content
    file_ids: Annotated[list[Identifier], Field(fail_fast=True, max_length=MAX_V1_MESSAGE_FILES)] | None = None
    metadata: MetadataV1 | None = None

    def to_new_message(self, ids: IdSource) -> NewMessage:
        """Returns the message with a new id. v1 does not say which tools its files are for: they are for every tool."""
        attachments = [
            {"file_id": id, "tools": [dict(tool) for tool in _TOOLS]} for id in dict.fromkeys(self.file_ids or ())
        ]
        return _new_message(self, [_text(self.content)], attachments, ids)


def _new_message(
    message: Message | MessageV1, content: list[Json], attachments: list[Json], ids: IdSource
) -> NewMessage:
    return NewMessage(
        id=ids.new("msg"),
        role=message.role,
        content=content,
        attachments=attachments,
        metadata=message.metadata or {},
    )


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": {"value": text, "annotations": []}}


def _part(part: BaseModel) -> dict[str, Any]:
    match part:
        case TextPart(text=text):
            return _text(text)
        case _:
            return part.model_dump()
