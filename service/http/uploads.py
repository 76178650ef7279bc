"""/uploads"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from events import upload as rules
from events.errors import DomainError, Rejection
from events.file import CreateFile
from events.ids import file_id_of
from events.object_changes import initial_upload_part
from events.objects import File, UploadPart
from events.streams import UPLOAD
from events.upload import AddPart, CancelUpload, CompleteUpload, CreateUpload, UploadCommand
from projections import files, uploads
from service.files.uploads import completion, delete_leftover_file
from service.http.bodies import parse_request
from service.http.context import clock, connection, id_source, origin, wire, writer
from service.http.files import require_room
from service.http.forms import Limit, megabytes, receive_form
from service.http.responses import answer
from service.http.services import BLOBS, LOG
from service.storage.base import BlobMissing, delete_unowned
from service.storage.checked_read import KnownBlob, read_checked
from service.wire.request_types import UploadCompletion
from service.writer import CommandFactory
from sql.connection import Connection

MAX_PART = 64 * 1024**2


async def create(request: web.Request) -> web.Response:
    asked = await parse_request(request, wire(request).parse_new_upload)
    upload_id = id_source(request).new_hex("upload")
    await require_room(request, asked.bytes)
    command = CreateUpload(
        filename=asked.filename,
        purpose=asked.purpose,
        bytes=asked.bytes,
        content_type=asked.content_type,
        expires_after=asked.expires_after,
    )
    await writer(request).upload(origin(request), upload_id, command)
    return await _render(request, upload_id)


async def add_part(request: web.Request) -> web.Response:
    upload_id = request.match_info["upload_id"]
    # Always a new one, which is its bytes' key too: a second try must not write over the first one's.
    part_id = request.app[LOG].ids.new_hex("part")
    # An upload that takes no more parts refuses the request before the bytes arrive.
    state = await writer(request).load_upload(origin(request), upload_id)
    rules.decide(state, AddPart(part_id, 0, ""), clock(request).now())
    limit = megabytes(MAX_PART) if state.bytes >= MAX_PART else Limit(state.bytes, rules.too_large_message(state))
    await require_room(request, request.content_length or 1, has_form=True)
    async with receive_form(request, "data", part_id, limit) as form:
        await require_room(request, form.stored.bytes)
        if form.fields:
            name = next(iter(form.fields))
            raise Rejection(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        command = AddPart(part_id, form.stored.bytes, form.stored.sha256, form.stored.segments)
        written = await writer(request).upload(origin(request), upload_id, command)
    if written.is_repeat:
        await delete_unowned(request.app[BLOBS], [part_id])
    return answer(wire(request).render_upload_part(initial_upload_part(written.recorded[0])))


async def complete(request: web.Request) -> web.Response:
    """Creates the file, then completes the upload. The id of the file follows from the upload's, so a second try finds
    it.

    If the upload was completed with the same parts before, it is returned again, for clients that lost the answer.
    """
    asked = await parse_request(request, wire(request).parse_upload_completion)
    upload_id = request.match_info["upload_id"]
    blobs, who = request.app[BLOBS], origin(request)
    if await writer(request).find_repeat(UPLOAD, who, upload_id) is not None:
        return await _render(request, upload_id)

    async def command(db: Connection) -> CompleteUpload:
        parts = await uploads.parts(db, upload_id)
        sizes = [parts[id].bytes if id in parts else None for id in asked.part_ids]
        before = await completion(db, upload_id)
        return CompleteUpload(
            part_ids=asked.part_ids, sizes=sizes, file_id=file_id_of(upload_id), md5=asked.md5, before=before
        )

    if await _is_completed(request, upload_id, command):
        return await _render(request, upload_id)
    async with connection(request) as db:
        parts = await uploads.parts(db, upload_id)
    try:
        await _make_file(request, upload_id, asked, parts)
    except (Rejection, BlobMissing):
        # If another request changed the upload in the meantime, that error says more, and the bytes may be deleted.
        if await _is_completed(request, upload_id, command):
            return await _render(request, upload_id)
        raise
    try:
        await writer(request).upload(who, upload_id, command)
    except DomainError:
        await delete_leftover_file(writer(request), blobs, who, upload_id)
        raise
    await delete_unowned(blobs, list(parts))
    return await _render(request, upload_id)


async def cancel(request: web.Request) -> web.Response:
    upload_id = request.match_info["upload_id"]
    blobs = request.app[BLOBS]
    async with connection(request) as db:
        parts = await uploads.parts(db, upload_id)
    await writer(request).upload(origin(request), upload_id, CancelUpload())
    await delete_unowned(blobs, list(parts))
    await delete_leftover_file(writer(request), blobs, origin(request), upload_id)
    return await _render(request, upload_id)


async def _is_completed(request: web.Request, upload_id: str, command: CommandFactory[UploadCommand]) -> bool:
    """Returns whether the upload is completed with the same parts. Raises the error that forbids completing it now."""
    return not await writer(request).preview(UPLOAD, origin(request), upload_id, command)


async def _make_file(
    request: web.Request, upload_id: str, asked: UploadCompletion, parts: Mapping[str, UploadPart]
) -> None:
    """Joins the parts to one file, in a stream of its own.

    Raises Rejection if their MD5 is not the announced one, or if another request is making the file of other bytes, and
    BlobMissing if the bytes of a part are deleted, and BlobChanged if they were changed. `parts` are those that the
    upload has, by id.
    """
    file_id = file_id_of(upload_id)
    blob = f"{file_id}-{request.app[LOG].ids.token(8)}"
    digest = hashlib.md5(usedforsecurity=False)
    blobs = request.app[BLOBS]

    async def join_parts() -> AsyncIterator[bytes]:
        for part_id in asked.part_ids:
            part = parts.get(part_id)
            if part is None:
                raise BlobMissing(part_id)
            async for piece in read_checked(blobs, KnownBlob(key=part_id, size=part.bytes, sha256=part.sha256)):
                if asked.md5:
                    digest.update(piece)
                yield piece

    async with connection(request) as db:
        upload = await uploads.get(db, origin(request).project_id, upload_id)
    stored = await blobs.write(blob, join_parts())
    command = CreateFile(
        filename=upload.filename,
        purpose=upload.purpose,
        bytes=stored.bytes,
        sha256=stored.sha256,
        content_type=upload.content_type,
        expires_after=upload.expires_after,
        blob=blob,
        segments=stored.segments,
    )
    if asked.md5 and digest.hexdigest() != asked.md5:
        await delete_unowned(blobs, [blob])
        raise Rejection(f"The file's md5 is {digest.hexdigest()}, but {asked.md5} was expected.", param="md5")
    try:
        written = await writer(request).file(origin(request), file_id, command)
    except Rejection:
        await delete_unowned(blobs, [blob])
        message = f"Upload {upload_id} is being completed by another request, with other parts or in another order."
        raise Rejection(message) from None
    if written.is_repeat or not written.recorded:
        # Another try at completing the upload has made the file already, of the same bytes.
        await delete_unowned(blobs, [blob])


async def _render(request: web.Request, upload_id: str) -> web.Response:
    """Renders the upload with its file, as long as the file exists."""
    project_id = origin(request).project_id
    async with connection(request) as db:
        upload = await uploads.get(db, project_id, upload_id)
        made: dict[str, File] = {}
        if upload.file_id is not None:
            made = await files.find(db, project_id, [upload.file_id], clock(request).now())
    return answer(wire(request).render_upload(upload, made.get(upload.file_id or "")))
