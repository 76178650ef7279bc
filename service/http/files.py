"""/files"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from functools import wraps
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from events.errors import NotFound, Rejection
from events.file import MAX_FILE, CreateFile, DeleteFile
from events.object_changes import initial_file
from events.objects import File
from projections import files
from projections.rows import Cursor
from service.files.uses import check_file_uses
from service.http import azure
from service.http.byte_range import ByteRange, parse_range
from service.http.context import ATTEMPT, GRANT, REQUEST_ID, clock, connection, id_source, origin, wire, writer
from service.http.errors import ApiError, Handler
from service.http.forms import FORM_SLACK, megabytes, receive_form
from service.http.paging import render_all
from service.http.responses import answer, headers
from service.http.services import ACCESS, BLOBS, LOG, VECTOR_STORES
from service.storage.base import BlobMissing, Blobs, delete_unowned
from service.storage.checked_read import BlobChanged, KnownBlob, read_checked
from service.storage.segments import SEGMENT
from service.vector_stores.operations import remove_everywhere
from service.wire.filenames import last_part, plain_filename, plain_media_type
from service.wire.request_types import FileUse

log = structlog.get_logger()

# Time that a client may take to read one piece.
WRITE_TIMEOUT = 60.0
_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
# Bytes at the beginning of a file by which pictures are recognised.
LONGEST_SIGNATURE = 12
# A linked file must be inert in a browser: it runs no scripts, has no origin, and its URL is sent nowhere.
_LINKED = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}


def add_detail_to_errors(handler: Handler) -> Handler:
    """Adds the key `detail`, in which the original reports refusals of files as well."""

    @wraps(handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Rejection as error:
            raise _with_detail(ApiError(400, error.message, param=error.param, code=error.code)) from None
        except NotFound as error:
            raise _with_detail(ApiError(404, error.message, param=error.param)) from None
        except ApiError as error:
            raise _with_detail(error) from None

    return handle


async def require_room(request: web.Request, more: int, *, has_form: bool = False) -> None:
    """Raises Rejection if the quota of the request's project does not allow `more` further bytes.

    With `has_form`, `more` are the bytes of a form, of which the file is the most.
    """
    least = max(1, more - FORM_SLACK) if has_form else more
    await request.app[ACCESS].storage.require_room(origin(request).project_id, least)


@add_detail_to_errors
async def create(request: web.Request) -> web.Response:
    file_id = id_source(request).new_file()
    # A second try of the same request must not write over the first one's bytes.
    blob = f"{file_id}-{request.app[LOG].ids.token(8)}" if ATTEMPT in request else file_id
    if ATTEMPT not in request:  # a second try of a request may only get its answer again
        await require_room(request, request.content_length or 1, has_form=True)
    async with receive_form(request, "file", blob, megabytes(MAX_FILE)) as form:
        await require_room(request, form.stored.bytes)
        if azure.names_file(request) and "filename" in form.fields:
            form.filename = plain_filename(form.fields.pop("filename"))
        asked = wire(request).parse_file_form(form.fields)
        command = CreateFile(
            filename=form.filename,
            purpose=asked.purpose,
            bytes=form.stored.bytes,
            sha256=form.stored.sha256,
            content_type=form.content_type,
            expires_after=asked.expires_after,
            blob=blob,
            segments=form.stored.segments,
        )
        written = await writer(request).file(origin(request), file_id, command)
    if written.is_repeat:
        await delete_unowned(request.app[BLOBS], [blob])
        return answer(wire(request).render_file(await find_file(request, file_id)))
    return answer(wire(request).render_file(initial_file(written.recorded[0])))


@add_detail_to_errors
async def get(request: web.Request) -> web.Response:
    return answer(wire(request).render_file(await find_file(request, request.match_info["file_id"])))


@add_detail_to_errors
async def delete(request: web.Request) -> web.Response:
    file = await find_file(request, request.match_info["file_id"])
    await writer(request).file(origin(request), file.id, DeleteFile())
    await remove_everywhere(writer(request), origin(request), file.id)
    await delete_unowned(request.app[BLOBS], [file.blob])
    return answer(wire(request).render_deleted_file(file.id))


@add_detail_to_errors
async def page(request: web.Request) -> web.Response:
    asked = wire(request).parse_file_list_query(request.query)
    cursor = Cursor(asked.page.limit, asked.page.order, asked.page.after, asked.page.before)
    async with connection(request) as db:
        shown = await files.page(db, origin(request).project_id, cursor, asked.purpose, clock(request).now())
    rendered = await render_all(shown.items, wire(request).render_file)
    return answer(wire(request).render_file_list(rendered, shown.more))


@add_detail_to_errors
async def content(request: web.Request) -> web.StreamResponse:
    """Sends the file, or the part of it that the header Range names. Its bytes are checked before they are sent."""
    started = time.perf_counter()
    file = await find_file(request, request.match_info["file_id"])
    part = parse_range(request, file.bytes)
    wanted = part or ByteRange(0, file.bytes)
    try:
        blob = await _known_blob(request, file)
        pieces = read_checked(request.app[BLOBS], blob, start=wanted.start, stop=wanted.stop)
        first = await anext(pieces, b"")
        beginning = None
        if GRANT in request:
            beginning = first if wanted.start == 0 else await _read_beginning(request.app[BLOBS], blob)
    except BlobMissing:
        await find_file(request, file.id)  # raises FileNotFound if the file was deleted in the meantime
        log.error("file_blob_missing", file=file.id)
        raise
    elapsed = (time.perf_counter() - started) * 1000
    response = web.StreamResponse(
        status=200 if part is None else 206,
        headers={**headers(request[REQUEST_ID], elapsed), **_content_headers(file, beginning)},
    )
    response.headers[hdrs.ACCEPT_RANGES] = "bytes"
    if part is not None:
        response.headers[hdrs.CONTENT_RANGE] = part.content_range(file.bytes)
    response.content_length = wanted.stop - wanted.start
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        await _send(response, first, pieces)
    return response


async def _known_blob(request: web.Request, file: File) -> KnownBlob:
    """Returns the file's bytes as the log has them. Raises BlobChanged if the event of the file was changed."""
    segments = None
    if file.bytes > SEGMENT:
        async with connection(request) as db:
            try:
                segments = await files.load_segments(db, file)
            except ValueError:
                log.error("blob_changed", key=file.blob, part="the event of the file")
                raise BlobChanged(file.blob) from None
    return KnownBlob(key=file.blob, size=file.bytes, sha256=file.sha256, segments=segments)


async def _read_beginning(blobs: Blobs, blob: KnownBlob) -> bytes:
    return b"".join([piece async for piece in read_checked(blobs, blob, stop=min(LONGEST_SIGNATURE, blob.size))])


async def find_file(request: web.Request, file_id: str) -> File:
    """Returns the file of the request's path. Raises FileNotFound."""
    async with connection(request) as db:
        return await files.get(db, origin(request).project_id, file_id, clock(request).now())


async def check(request: web.Request, uses: Iterable[FileUse]) -> None:
    """Raises FileNotFound if a file that the request names does not exist, and Rejection if it does not fit its use."""
    can_index = request.app[VECTOR_STORES].builder.can_index
    if not wire(request).names_tools_of_files:
        uses = [replace(use, is_searched=False) for use in uses]
    pool, project_id = request.app[LOG].pool, origin(request).project_id
    await check_file_uses(pool, project_id, uses, clock(request).now(), can_index=can_index)


async def _send(response: web.StreamResponse, first: bytes, pieces: AsyncIterator[bytes]) -> None:
    """Sends the pieces to the client. Stops if the client has disconnected or does not read, or at changed bytes."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT) as patience:
            await response.write(first)
            async for piece in pieces:
                patience.reschedule(asyncio.get_running_loop().time() + WRITE_TIMEOUT)
                await response.write(piece)
            await response.write_eof()
    except (ConnectionError, TimeoutError) as error:
        log.info("download_client_disconnected", error=type(error).__name__)
        response.force_close()
    except BlobChanged:  # the client gets fewer bytes than announced, and a closed connection
        response.force_close()


def _content_headers(file: File, linked: bytes | None) -> dict[str, str]:
    """Returns headers for type and name (RFC 6266, RFC 5987). Browsers must save the files of strangers, not show them.

    Uploads of release 0.2.0 and older have names and types that nothing checked.

    `linked` holds the first bytes of a file that was requested by a link. If they are those of a picture, it may be
    shown.
    """
    name = last_part(file.filename) or "file"
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%' else "_" for char in name)
    picture = None if linked is None else _picture(linked)
    how = "attachment" if picture is None else "inline"
    found = {
        "Content-Type": picture or plain_media_type(file.content_type),
        "Content-Disposition": f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return found if linked is None else {**found, **_LINKED}


def _picture(first: bytes) -> str | None:
    """Returns the media type of a picture that cannot run scripts, recognised by its first bytes, or None."""
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begins, kind in _PICTURES if first.startswith(begins)), None)


def _with_detail(error: ApiError) -> ApiError:
    told = error.body["error"]
    error.body["detail"] = {"message": told["message"], "code": told["code"]}
    return error
