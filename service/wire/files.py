"""Files and uploads: forms and bodies in, objects out; and which files a parsed request names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from events import upload as rules
from events.errors import Rejected
from events.file import FOR_IMAGES, FOR_STORES, FOR_TOOLS
from events.objects import Assistant, File, Message, Upload, UploadPart
from events.thread.commands import NewMessage
from service.wire.api import (
    CompletionRequest,
    FileRequest,
    FileUse,
    Json,
    RunRequest,
    ThreadRequest,
    UploadRequest,
)
from service.wire.fields import Identifier, Loose, Request, Text
from service.wire.requests import parsed

# What clients may upload files for; runs alone write assistants_output.
PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
MIN_EXPIRES_AFTER = 3_600
MAX_EXPIRES_AFTER = 2_592_000
# Ours: no file system takes longer names.
MAX_FILENAME = 1_024
MAX_MIME_TYPE = 256

_NESTED = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}


class ExpiresAfter(Loose):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Strict(), Field(ge=MIN_EXPIRES_AFTER, le=MAX_EXPIRES_AFTER)]


class FileForm(Request):
    purpose: Text
    expires_after: ExpiresAfter | None = None


class NewUpload(Request):
    filename: Annotated[str, Strict(), Field(min_length=1, max_length=MAX_FILENAME)]
    purpose: Text
    bytes: Annotated[int, Strict(), Field(ge=1, le=rules.MAX_BYTES)]
    mime_type: Annotated[str, Strict(), Field(min_length=1, max_length=MAX_MIME_TYPE)]
    expires_after: ExpiresAfter | None = None


class Completion(Request):
    part_ids: Annotated[list[Identifier], Field(max_length=rules.MAX_PARTS)]
    md5: Annotated[str, Strict(), Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


class Link(Request):
    file_id: Identifier


def file_request(fields: Mapping[str, str]) -> FileRequest:
    """From the fields of a form, all but the file itself."""
    body: Json = {name: value for name, value in fields.items() if name not in _NESTED}
    nested: Json = {_NESTED[name]: value for name, value in fields.items() if name in _NESTED}
    if nested:
        seconds = nested.get("seconds", "")
        if seconds.isascii() and seconds.isdigit() and len(seconds) <= 18:
            nested["seconds"] = int(seconds)
        body["expires_after"] = nested
    if "purpose" not in body:
        raise Rejected("'purpose' is a required property", param="purpose")
    asked = parsed(FileForm, body)
    return FileRequest(_purpose(asked.purpose), _seconds(asked.expires_after))


def upload_request(body: Any) -> UploadRequest:
    asked = parsed(NewUpload, body)
    purpose = _purpose(asked.purpose)
    return UploadRequest(asked.filename, purpose, asked.bytes, asked.mime_type, _seconds(asked.expires_after))


def completion_request(body: Any) -> CompletionRequest:
    asked = parsed(Completion, body)
    return CompletionRequest(tuple(asked.part_ids), asked.md5.lower() if asked.md5 else None)


def file(shown: File) -> Json:
    return {
        "object": "file",
        "id": shown.id,
        "purpose": shown.purpose,
        "filename": shown.filename,
        "bytes": shown.bytes,
        "created_at": shown.created_at,
        "expires_at": shown.expires_at,
        "status": "processed",
        "status_details": None,
    }


def upload(shown: Upload, made: Json | None) -> Json:
    """`made` is the rendered file of a completed upload."""
    return {
        "id": shown.id,
        "object": "upload",
        "bytes": shown.bytes,
        "created_at": shown.created_at,
        "filename": shown.filename,
        "purpose": shown.purpose,
        "status": shown.status,
        "expires_at": shown.expires_at,
        **({"file": made} if made is not None else {}),
    }


def part(shown: UploadPart) -> Json:
    return {
        "id": shown.id,
        "object": "upload.part",
        "created_at": shown.created_at,
        "upload_id": shown.upload_id,
    }


class FileLinks:
    """v1's sub-resources: a file as it belongs to an assistant or a message."""

    def attach(self, body: Any) -> str:
        """The id of the file."""
        return parsed(Link, body).file_id

    def of_assistant(self, file_id: str, assistant: Assistant) -> Json:
        """When it was attached is not kept: the object shows when the assistant was created."""
        return {
            "id": file_id,
            "object": "assistant.file",
            "created_at": assistant.created_at,
            "assistant_id": assistant.id,
        }

    def of_message(self, file_id: str, message: Message) -> Json:
        return {
            "id": file_id,
            "object": "thread.message.file",
            "created_at": message.created_at,
            "message_id": message.id,
        }

    def detached(self, file_id: str) -> Json:
        return {"id": file_id, "object": "assistant.file.deleted", "deleted": True}


def named_in(request: Json | ThreadRequest | NewMessage | RunRequest) -> Iterator[FileUse]:
    """The files that a parsed request names, and what each is for. Settings and changes are plain JSON."""
    match request:
        case ThreadRequest():
            yield from _resources(request.tool_resources)
            for message in request.messages:
                yield from named_in(message)
        case RunRequest():
            yield from _resources(request.overrides.get("tool_resources", {}))
            for message in request.additional_messages:
                yield from named_in(message)
        case NewMessage():
            for attachment in request.attachments:
                yield FileUse(attachment["file_id"], FOR_TOOLS)
            for content in request.content:
                if content["type"] == "image_file":
                    yield FileUse(content["image_file"]["file_id"], FOR_IMAGES)
        case _:
            yield from _resources(request.get("tool_resources", {}))


def _resources(tool_resources: Mapping[str, Any]) -> Iterator[FileUse]:
    for file_id in tool_resources.get("code_interpreter", {}).get("file_ids", ()):
        yield FileUse(file_id, FOR_TOOLS)
    for store in tool_resources.get("file_search", {}).get("vector_stores", ()):
        for file in store.files:
            yield FileUse(file.id, FOR_STORES)


def _purpose(given: str) -> str:
    if given not in PURPOSES:
        raise Rejected(f"{given!r} is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
    return given


def _seconds(asked: ExpiresAfter | None) -> int | None:
    return asked.seconds if asked is not None else None
