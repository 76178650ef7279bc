"""Parses and renders files and uploads, and finds the files that a parsed request names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from events import upload as rules
from events.errors import Rejection
from events.file import IMAGE_PURPOSES, TOOL_PURPOSES, VECTOR_STORE_PURPOSES
from events.objects import Assistant, File, Json, Message, Upload, UploadPart
from events.thread.commands import NewMessage
from service.wire.fields import Identifier, NestedObject, RequestBody, StrictText
from service.wire.filenames import MAX_FILENAME, MAX_MEDIA_TYPE, plain_filename, plain_media_type
from service.wire.request_types import FileRequest, FileUse, RunRequest, ThreadRequest, UploadCompletion, UploadRequest
from service.wire.requests import parse_body

# The purposes that clients may give. Files of the purpose assistants_output are written by runs only.
PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
MIN_EXPIRES_AFTER = 3_600
MAX_EXPIRES_AFTER = 2_592_000

_NESTED = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}


class FileExpiry(NestedObject):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Strict(), Field(ge=MIN_EXPIRES_AFTER, le=MAX_EXPIRES_AFTER)]


class FileForm(RequestBody):
    purpose: StrictText
    expires_after: FileExpiry | None = None


class NewUpload(RequestBody):
    filename: Annotated[str, Strict(), Field(min_length=1, max_length=MAX_FILENAME)]
    purpose: StrictText
    bytes: Annotated[int, Strict(), Field(ge=1, le=rules.MAX_BYTES)]
    mime_type: Annotated[str, Strict(), Field(min_length=1, max_length=MAX_MEDIA_TYPE)]
    expires_after: FileExpiry | None = None


class Completion(RequestBody):
    part_ids: Annotated[list[Identifier], Field(fail_fast=True, max_length=rules.MAX_PARTS)]
    md5: Annotated[str, Strict(), Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


class AttachedFile(RequestBody):
    file_id: Identifier


def parse_file_form(fields: Mapping[str, str]) -> FileRequest:
    """Parses the fields of a form, without the file itself. Raises Rejection."""
    body: Json = {name: value for name, value in fields.items() if name not in _NESTED}
    nested: Json = {_NESTED[name]: value for name, value in fields.items() if name in _NESTED}
    if nested:
        seconds = nested.get("seconds", "")
        if seconds.isascii() and seconds.isdigit() and len(seconds) <= 18:
            nested["seconds"] = int(seconds)
        body["expires_after"] = nested
    if "purpose" not in body:
        raise Rejection("'purpose' is a required property", param="purpose")
    request = parse_body(FileForm, body)
    return FileRequest(_check_purpose(request.purpose), _expiry_seconds(request.expires_after))


def parse_new_upload(body: Any) -> UploadRequest:
    request = parse_body(NewUpload, body)
    return UploadRequest(
        filename=plain_filename(request.filename),
        purpose=_check_purpose(request.purpose),
        bytes=request.bytes,
        content_type=plain_media_type(request.mime_type),
        expires_after=_expiry_seconds(request.expires_after),
    )


def parse_upload_completion(body: Any) -> UploadCompletion:
    request = parse_body(Completion, body)
    return UploadCompletion(tuple(request.part_ids), request.md5.lower() if request.md5 else None)


def render_file(file: File) -> Json:
    return {
        "object": "file",
        "id": file.id,
        "purpose": file.purpose,
        "filename": file.filename,
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "status": "processed",
        "status_details": None,
    }


def render_upload(upload: Upload, file: Json | None) -> Json:
    """`file` is the rendered file of a completed upload."""
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": upload.created_at,
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "expires_at": upload.expires_at,
        **({"file": file} if file is not None else {}),
    }


def render_upload_part(part: UploadPart) -> Json:
    return {
        "id": part.id,
        "object": "upload.part",
        "created_at": part.created_at,
        "upload_id": part.upload_id,
    }


class AttachedFiles:
    """Parses and renders files as parts of assistants and messages, which v1 alone has."""

    def parse_attachment(self, body: Any) -> str:
        return parse_body(AttachedFile, body).file_id

    def render_assistant_file(self, file_id: str, assistant: Assistant) -> Json:
        """Shows the time when the assistant was created, because the time of the attachment is not stored."""
        return {
            "id": file_id,
            "object": "assistant.file",
            "created_at": assistant.created_at,
            "assistant_id": assistant.id,
        }

    def render_message_file(self, file_id: str, message: Message) -> Json:
        return {
            "id": file_id,
            "object": "thread.message.file",
            "created_at": message.created_at,
            "message_id": message.id,
        }

    def render_deleted_file(self, file_id: str) -> Json:
        return {"id": file_id, "object": "assistant.file.deleted", "deleted": True}


ATTACHED_FILES = AttachedFiles()


def files_named_in(request: Json | ThreadRequest | NewMessage | RunRequest) -> Iterator[FileUse]:
    """Yields the files that a parsed request names. Settings of assistants, and changes of objects, are plain JSON."""
    match request:
        case ThreadRequest():
            yield from _files_of_resources(request.tool_resources)
            for message in request.messages:
                yield from files_named_in(message)
        case RunRequest():
            yield from _files_of_resources(request.overrides.get("tool_resources", {}))
            for message in request.additional_messages:
                yield from files_named_in(message)
        case NewMessage():
            for attachment in request.attachments:
                is_searched = any(tool["type"] == "file_search" for tool in attachment.get("tools", ()))
                yield FileUse(attachment["file_id"], TOOL_PURPOSES, is_searched)
            for content in request.content:
                if content["type"] == "image_file":
                    yield FileUse(content["image_file"]["file_id"], IMAGE_PURPOSES)
        case _:
            yield from _files_of_resources(request.get("tool_resources", {}))


def _files_of_resources(tool_resources: Mapping[str, Any]) -> Iterator[FileUse]:
    for file_id in tool_resources.get("code_interpreter", {}).get("file_ids", ()):
        yield FileUse(file_id, TOOL_PURPOSES)
    for store in tool_resources.get("file_search", {}).get("vector_stores", ()):
        for file in store.files:
            yield FileUse(file.id, VECTOR_STORE_PURPOSES, is_searched=True)


def _check_purpose(given: str) -> str:
    if given not in PURPOSES:
        raise Rejection(f"{given!r} is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
    return given


def _expiry_seconds(expiry: FileExpiry | None) -> int | None:
    return expiry.seconds if expiry is not None else None
