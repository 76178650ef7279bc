"""Forms with one file, streamed to the store as they come: a few pieces of the file are all that memory ever holds.

The fields may stand before or behind the file, so they are judged when all have come; bytes that are then refused are
deleted, and bytes whose end nobody saw (a crash, a lost database) are left to the sweep.

What stands around the file is bounded in parts, lines and bytes, and every line of it is a turn of the event loop: what
has arrived already is parsed without waiting for anything, so nobody else would be let in while it goes on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from events.errors import DomainError, Rejected
from service.http.context import deps
from service.http.errors import ApiError
from service.http.idempotency import settle_form
from service.idempotency import Answered
from service.storage.base import Stored, let_go
from service.wire import storable_text
from service.wire.validation_errors import SHOWN

MAX_FIELDS = 20
MAX_FIELD = 4096
MAX_FILENAME = 1024
# What a form may have around its file, in bytes and in lines: aiohttp takes up to 128 headers a part.
FORM_SLACK = 1024 * 1024
MAX_LINES = 4000
PIECE = 256 * 1024
# Seconds that a client may take for the next piece.
PIECE_TIMEOUT = 60.0
# … and for all of them: less than the grace that the sweep gives to bytes that nobody owns yet.
FORM_TIMEOUT = 3600.0
OCTETS = "application/octet-stream"
# What a part may say of its encoding: that it has none (RFC 7578, 4.7).
_PLAIN = {"Content-Transfer-Encoding": ("binary", "8bit", "7bit"), "Content-Encoding": ("identity",)}
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w.+-]+=[\w.+-]+){0,5}", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limit:
    """The most bytes that the file may have, and what is said of one with more."""

    bytes: int
    message: str

    def exceeded(self) -> ApiError:
        return ApiError(413, self.message, code="file_too_large")


def megabytes(limit: int) -> Limit:
    return Limit(limit, f"The file is larger than the limit of {limit // 1024**2} MB.")


@dataclass(slots=True)
class Form:
    """`stored` is what came of the file; `filename` without folders."""

    stored: Stored
    filename: str
    content_type: str
    fields: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def received(request: web.Request, name: str, key: str, limit: Limit) -> AsyncIterator[Form]:
    """A form whose file `name` lies under `key`. Where the context refuses it, the bytes are deleted.

    Raises ApiError for what is no such form, too large (413) or too slow (408), Rejected where the file is missing.
    """
    try:
        try:
            async with asyncio.timeout(FORM_TIMEOUT):
                form = await _read(request, name, key, limit)
        except TimeoutError:
            raise ApiError(408, f"The form did not arrive within {FORM_TIMEOUT:.0f} seconds.") from None
        await settle_form(request, [*chain(*sorted(form.fields.items())), form.filename, form.stored.sha256])
        yield form
    except (DomainError, ApiError, Answered):
        await let_go(deps(request).blobs, [key])
        raise


class _Around:
    """A request's bytes as the parser of forms asks for them: by lines, but for the contents of parts."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._lines = self._bytes = 0

    async def readline(self, **most: Any) -> bytes:
        """Raises ApiError where there are more of them than any form needs."""
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
        raise limit.exceeded()
    form: Form | None = None
    fields: dict[str, str] = {}
    try:
        reader = _parser(request)
        while (part := await _soon(reader.next())) is not None:
            named = _named(part, [*fields, *([name] if form is not None else [])])
            if named.name == name:
                filename = _filename(named)
                stored = await deps(request).blobs.write(key, _pieces(named, limit))
                form = Form(stored, filename, _media_type(named))
            elif len(fields) == MAX_FIELDS:
                raise ApiError(400, f"The form has more than {MAX_FIELDS} fields.")
            else:
                fields[named.name or ""] = await _field(named)
    except (ValueError, HttpProcessingError, RuntimeError, web.RequestPayloadError) as error:
        raise ApiError(400, f"The form could not be read: {_why(error)}") from error
    except ConnectionError as error:
        raise ApiError(400, "The request broke off.") from error
    if form is None:
        raise Rejected(f"'{name}' is a required property", param=name)
    if form.stored.bytes == 0:
        raise Rejected("The file is empty.", param=name)
    storable_text.check(fields)
    form.fields = fields
    return form


def _parser(request: web.Request) -> MultipartReader:
    try:
        return MultipartReader(request.headers, cast(StreamReader, _Around(request.content)))
    except ValueError:
        raise ApiError(400, "The form's Content-Type must name a boundary of 1 to 70 characters.") from None


def _named(part: BodyPartReader | MultipartReader, before: Collection[str]) -> BodyPartReader:
    """A part with a name that none had `before`, and plain contents. Raises ApiError and Rejected for any other."""
    if not isinstance(part, BodyPartReader) or part.name is None:
        raise ApiError(400, "Every part of the form must have a name, and none may hold parts itself.")
    if part.name in before:
        raise Rejected(f"'{part.name}' was given more than once", param=part.name)
    for header, plain in _PLAIN.items():
        if (given := part.headers.get(header, plain[0])).lower() not in plain:
            message = f"{header} '{given[:SHOWN]}' of '{part.name}' is not supported: send the bytes as they are."
            raise Rejected(message, param=part.name)
    return part


def _why(error: Exception) -> str:
    """What is wrong with a form, in words of ours: the parser's show Python and the client's own bytes."""
    if isinstance(error, HttpProcessingError):
        return "a line of it is too long, or the headers of a part are not well-formed."
    return "it ends early, or its parts are not divided by the boundary that its Content-Type names."


async def _pieces(part: BodyPartReader, limit: Limit) -> AsyncIterator[bytes]:
    size = 0
    while piece := await _soon(part.read_chunk(PIECE)):
        size += len(piece)
        if size > limit.bytes:
            raise limit.exceeded()
        yield bytes(piece)


async def _field(part: BodyPartReader) -> str:
    raw = b""
    while piece := await _soon(part.read_chunk(MAX_FIELD)):
        raw += piece
        if len(raw) > MAX_FIELD:
            raise Rejected(f"Invalid '{part.name}': longer than {MAX_FIELD} bytes.", param=part.name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise storable_text.refusal(part.name or "") from None


async def _soon(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(PIECE_TIMEOUT):
            return await work
    except TimeoutError:
        raise ApiError(408, f"Nothing came for {PIECE_TIMEOUT:.0f} seconds.") from None


def _filename(part: BodyPartReader) -> str:
    """The last part of the client's path. Raises Rejected for what is no name of a file."""
    # Browsers and httpx write a quotation mark so; other escapes they do not use in names.
    given = (part.filename or part.name or "").replace("%22", '"')
    name = PurePosixPath(given.replace("\\", "/")).name
    if not storable_text.fit(name):
        raise storable_text.refusal("filename")
    if not name or len(name) > MAX_FILENAME:
        raise Rejected(f"Invalid 'filename': a name of 1 to {MAX_FILENAME} characters is needed.", param="filename")
    return name


def _media_type(part: BodyPartReader) -> str:
    """The part's own type where it is one, else mere octets: it comes back in a header."""
    given = part.headers.get("Content-Type", "")
    return given if len(given) <= 256 and _MEDIA_TYPE.fullmatch(given) else OCTETS
