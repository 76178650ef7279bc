"""Multipart forms with one file, streamed to the blob store: memory holds only a few pieces of the file at a time.

The fields may come before or after the file, so they are checked at the end. If the form is refused, its bytes are
deleted; bytes of a request whose end is unknown (a crash, a lost database) are left to the sweep.

The parts, lines and bytes around the file are bounded, and every line takes one turn of the event loop: data that has
already arrived is parsed without waiting, which would keep other requests from running.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar, cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from events.errors import DomainError, Rejection
from service.http.errors import ApiError
from service.http.idempotency import settle_form
from service.http.services import BLOBS
from service.idempotency.keys import AlreadyAnswered
from service.storage.base import StoredBlob, delete_unowned
from service.wire import storable_text
from service.wire.filenames import plain_filename, plain_media_type
from service.wire.validation_errors import MAX_ECHO

MAX_FIELDS = 20
MAX_FIELD = 4096
# Bounds on the bytes and lines around the file. aiohttp accepts up to 128 headers a part.
FORM_SLACK = 1024 * 1024
MAX_LINES = 4000
PIECE = 256 * 1024
# Time that a client may take for the next piece.
PIECE_TIMEOUT = 60.0
# Time for all pieces together. It is shorter than the grace period that the sweep gives to bytes without an owner.
FORM_TIMEOUT = 3600.0
# The only encoding that a part may declare (RFC 7578, section 4.7).
_PLAIN = {"Content-Transfer-Encoding": ("binary", "8bit", "7bit"), "Content-Encoding": ("identity",)}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limit:
    """The maximum size of the file in bytes, and the error for a larger one."""

    bytes: int
    message: str

    def too_large(self) -> ApiError:
        return ApiError(413, self.message, code="file_too_large")


def megabytes(limit: int) -> Limit:
    return Limit(limit, f"The file is larger than the limit of {limit // 1024**2} MB.")


@dataclass(slots=True)
class Form:
    """`stored` describes the file's bytes in the blob store; `filename` has no folders."""

    stored: StoredBlob
    filename: str
    content_type: str
    fields: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def receive_form(request: web.Request, name: str, key: str, limit: Limit) -> AsyncIterator[Form]:
    """Yields a form whose file field `name` is stored under `key`. If the context raises, the bytes are deleted.

    Raises ApiError if the body is not such a form, is too large (413) or too slow (408), and Rejection if the file is
    missing.
    """
    try:
        try:
            async with asyncio.timeout(FORM_TIMEOUT):
                form = await _read(request, name, key, limit)
        except TimeoutError:
            raise ApiError(408, f"The form did not arrive within {FORM_TIMEOUT:.0f} seconds.") from None
        await settle_form(request, [*chain(*sorted(form.fields.items())), form.filename, form.stored.sha256])
        yield form
    except (DomainError, ApiError, AlreadyAnswered):
        await delete_unowned(request.app[BLOBS], [key])
        raise


class _Around:
    """Gives the parser of forms the bytes of a request: line by line, except for the contents of parts."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._lines = self._bytes = 0

    async def readline(self, **most: Any) -> bytes:
        """Counts bytes and lines around the file. Raises ApiError if there are more than any form needs."""
        await asyncio.sleep(0)
        line = await self._content.readline(**most)
        self._lines += 1
        self._bytes += len(line)
        if self._lines > MAX_LINES or self._bytes > FORM_SLACK:
            raise ApiError(413, f"The form has more than {MAX_LINES} lines or {FORM_SLACK} bytes around its contents.")
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)


async def _read(request: web.Request, name: str, key: str, limit: Limit) -> Form:
    if request.content_type != "multipart/form-data":
        raise ApiError(400, "The request must be a form of type multipart/form-data.")
    if (request.content_length or 0) > limit.bytes + FORM_SLACK:
        raise limit.too_large()
    form: Form | None = None
    fields: dict[str, str] = {}
    try:
        reader = _parser(request)
        while (part := await _soon(reader.next())) is not None:
            named = _check_part(part, [*fields, *([name] if form is not None else [])])
            if named.name == name:
                filename = _filename(named)
                stored = await request.app[BLOBS].write(key, _pieces(named, limit))
                form = Form(stored, filename, plain_media_type(named.headers.get("Content-Type", "")))
            elif len(fields) == MAX_FIELDS:
                raise ApiError(400, f"The form has more than {MAX_FIELDS} fields.")
            else:
                fields[named.name or ""] = await _field(named)
    except (ValueError, HttpProcessingError, RuntimeError, web.RequestPayloadError) as error:
        raise ApiError(400, f"The form could not be read: {_why(error)}") from error
    except ConnectionError as error:
        raise ApiError(400, "The request broke off.") from error
    if form is None:
        raise Rejection(f"'{name}' is a required property", param=name)
    if form.stored.bytes == 0:
        raise Rejection("The file is empty.", param=name)
    storable_text.require_storable(fields)
    form.fields = fields
    return form


def _parser(request: web.Request) -> MultipartReader:
    try:
        return MultipartReader(request.headers, cast(StreamReader, _Around(request.content)))
    except ValueError:
        raise ApiError(400, "The form's Content-Type must name a boundary of 1 to 70 characters.") from None


def _check_part(part: BodyPartReader | MultipartReader, before: Collection[str]) -> BodyPartReader:
    """Checks that a part has plain contents and a name that no part `before` it has. Raises ApiError, Rejection."""
    if not isinstance(part, BodyPartReader) or part.name is None:
        raise ApiError(400, "Every part of the form must have a name, and none may hold parts itself.")
    if part.name in before:
        raise Rejection(f"'{part.name}' was given more than once", param=part.name)
    for header, plain in _PLAIN.items():
        if (given := part.headers.get(header, plain[0])).lower() not in plain:
            message = f"{header} '{given[:MAX_ECHO]}' of '{part.name}' is not supported: send the bytes as they are."
            raise Rejection(message, param=part.name)
    return part


def _why(error: Exception) -> str:
    """Returns the error for a malformed form. The parser's own text would show Python and the client's bytes."""
    if isinstance(error, HttpProcessingError):
        return "a line of it is too long, or the headers of a part are not well-formed."
    return "it ends early, or its parts are not divided by the boundary that its Content-Type names."


async def _pieces(part: BodyPartReader, limit: Limit) -> AsyncIterator[bytes]:
    size = 0
    while piece := await _soon(part.read_chunk(PIECE)):
        size += len(piece)
        if size > limit.bytes:
            raise limit.too_large()
        yield bytes(piece)


async def _field(part: BodyPartReader) -> str:
    raw = b""
    while piece := await _soon(part.read_chunk(MAX_FIELD)):
        raw += piece
        if len(raw) > MAX_FIELD:
            raise Rejection(f"Invalid '{part.name}': longer than {MAX_FIELD} bytes.", param=part.name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise storable_text.unstorable(part.name or "") from None


async def _soon(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(PIECE_TIMEOUT):
            return await work
    except TimeoutError:
        raise ApiError(408, f"Nothing came for {PIECE_TIMEOUT:.0f} seconds.") from None


def _filename(part: BodyPartReader) -> str:
    """Returns the last part of the client's path. Raises Rejection if it cannot be the name of a file."""
    # Browsers and httpx write a quotation mark like this; they use no other escapes in names.
    return plain_filename((part.filename or part.name or "").replace("%22", '"'))
