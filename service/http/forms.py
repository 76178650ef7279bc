"""Forms with one file, streamed to the store as they come: a few pieces of the file are all that memory ever holds.

The fields may stand before or behind the file, so they are judged when all have come; bytes that are then refused are
deleted, and bytes whose end nobody saw (a crash, a lost database) are left to the sweep.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath
from typing import TypeVar

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from events.errors import DomainError, Rejected
from service.http.deps import deps
from service.http.errors import ApiError, first_line
from service.http.idempotency import settle_form
from service.once import Answered
from service.storage.base import Stored
from service.wire import text

MAX_FIELDS = 20
MAX_FIELD = 4096
MAX_FILENAME = 1024
# What a form may have around its file.
FORM_SLACK = 1024 * 1024
PIECE = 256 * 1024
# Seconds that a client may take for the next piece.
PIECE_TIMEOUT = 60.0
# … and for all of them: less than the grace that the sweep gives to bytes that nobody owns yet.
FORM_TIMEOUT = 3600.0
OCTETS = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w.+-]+=[\w.+-]+){0,5}", re.ASCII)

T = TypeVar("T")


@dataclass(slots=True)
class Form:
    """`stored` is what came of the file; `filename` without folders."""

    stored: Stored
    filename: str
    content_type: str
    fields: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def received(request: web.Request, name: str, key: str, limit: int) -> AsyncIterator[Form]:
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
        await deps(request).blobs.delete([key])
        raise


async def _read(request: web.Request, name: str, key: str, limit: int) -> Form:
    if request.content_type != "multipart/form-data":
        raise ApiError(400, "The request must be a form of type multipart/form-data.")
    if (request.content_length or 0) > limit + FORM_SLACK:
        raise too_large(limit)
    form: Form | None = None
    fields: dict[str, str] = {}
    try:
        reader = await request.multipart()
        while (part := await _soon(reader.next())) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise ApiError(400, "Every part of the form must have a name, and none may hold parts itself.")
            if part.name != name:
                if len(fields) == MAX_FIELDS:
                    raise ApiError(400, f"The form has more than {MAX_FIELDS} fields.")
                fields[part.name] = await _field(part)
            elif form is not None:
                raise Rejected(f"'{name}' was given more than once", param=name)
            else:
                filename = _filename(part)
                stored = await deps(request).blobs.write(key, _pieces(part, limit))
                form = Form(stored, filename, _media_type(part))
    except (ValueError, HttpProcessingError, RuntimeError) as error:
        why = error.message if isinstance(error, HttpProcessingError) else str(error)
        raise ApiError(400, f"The form could not be read: {first_line(why)}") from error
    except ConnectionError as error:
        raise ApiError(400, "The request broke off.") from error
    if form is None:
        raise Rejected(f"'{name}' is a required property", param=name)
    if form.stored.bytes == 0:
        raise Rejected("The file is empty.", param=name)
    text.check(fields)
    form.fields = fields
    return form


def too_large(limit: int) -> ApiError:
    message = f"The file is larger than the limit of {limit // 1024**2} MB."
    return ApiError(413, message, code="file_too_large")


async def _pieces(part: BodyPartReader, limit: int) -> AsyncIterator[bytes]:
    size = 0
    while piece := await _soon(part.read_chunk(PIECE)):
        size += len(piece)
        if size > limit:
            raise too_large(limit)
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
        raise text.refusal(part.name or "") from None


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
    if not text.fit(name):
        raise text.refusal("filename")
    if not name or len(name) > MAX_FILENAME:
        raise Rejected(f"Invalid 'filename': a name of 1 to {MAX_FILENAME} characters is needed.", param="filename")
    return name


def _media_type(part: BodyPartReader) -> str:
    """The part's own type where it is one, else mere octets: it comes back in a header."""
    given = part.headers.get("Content-Type", "")
    return given if len(given) <= 256 and _MEDIA_TYPE.fullmatch(given) else OCTETS
