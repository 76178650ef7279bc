"""/uploads"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator

from aiohttp import web

from events import upload as rules
from events.errors import DomainError, Rejected
from events.event import now
from events.file import CreateFile, DeleteFile
from events.fold import added_part
from events.ids import file_id_of, new_hex_id
from events.objects import File, Upload
from events.upload import AddPart, CancelUpload, CompleteUpload, CreateUpload, UploadState
from projections import files, uploads
from service.database import Connection
from service.http.deps import deps, origin, wire
from service.http.forms import received
from service.http.frame import answer, json_body
from service.kinds import UPLOAD
from service.wire.base import CompletionRequest

MAX_PART = 64 * 1024**2


async def create(request: web.Request) -> web.Response:
    asked = wire(request).create_upload(await json_body(request))
    upload_id = new_hex_id("upload")
    command = CreateUpload(asked.filename, asked.purpose, asked.bytes, asked.content_type, asked.expires_after)
    await deps(request).writer.upload(origin(request), upload_id, command)
    return await _shown(request, upload_id)


async def add_part(request: web.Request) -> web.Response:
    upload_id = request.match_info["upload_id"]
    # Always a new one, which is its bytes' key too: a second try must not write over the first one's.
    part_id = f"part_{os.urandom(16).hex()}"
    writer = deps(request).writer
    # An upload that takes no parts refuses before the bytes come.
    rules.decide(await writer.load_upload(origin(request), upload_id), AddPart(part_id, 0, ""), now())
    async with received(request, "data", part_id, MAX_PART) as form:
        if form.fields:
            name = next(iter(form.fields))
            raise Rejected(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        command = AddPart(part_id, form.stored.bytes, form.stored.sha256)
        written = await writer.upload(origin(request), upload_id, command)
    if written.repeated:
        await deps(request).blobs.delete([part_id])
    return answer(wire(request).upload_part(added_part(written.recorded[0])))


async def complete(request: web.Request) -> web.Response:
    """Makes the file, then says so in the upload: the file's id follows from the upload's, so a second try finds it."""
    asked = wire(request).complete_upload(await json_body(request))
    upload_id = request.match_info["upload_id"]
    file_id = file_id_of(upload_id)
    writer = deps(request).writer
    if await writer.repeated(UPLOAD, origin(request), upload_id) is not None:
        return await _shown(request, upload_id)

    async def command(db: Connection) -> CompleteUpload:
        parts = await uploads.parts(db, upload_id)
        sizes = [parts[id].bytes if id in parts else None for id in asked.part_ids]
        return CompleteUpload(asked.part_ids, sizes, file_id)

    state = await writer.load_upload(origin(request), upload_id)
    async with deps(request).pool.acquire() as db:
        upload = await uploads.get(db, origin(request).project_id, upload_id)
        parts = await uploads.parts(db, upload_id)
        rules.decide(state, await command(db), now())
    await _make_file(request, upload, asked, file_id)
    try:
        await writer.upload(origin(request), upload_id, command)
    except DomainError:
        await _unmake_file(request, await writer.load_upload(origin(request), upload_id), file_id)
        raise
    await deps(request).blobs.delete(list(parts))
    return await _shown(request, upload_id)


async def cancel(request: web.Request) -> web.Response:
    upload_id = request.match_info["upload_id"]
    async with deps(request).pool.acquire() as db:
        parts = await uploads.parts(db, upload_id)
    await deps(request).writer.upload(origin(request), upload_id, CancelUpload())
    await deps(request).blobs.delete(list(parts))
    return await _shown(request, upload_id)


async def _make_file(request: web.Request, upload: Upload, asked: CompletionRequest, file_id: str) -> None:
    """The parts as one file, in its own stream. Raises Rejected where their md5 is not the one that was announced."""
    blob = f"{file_id}-{os.urandom(8).hex()}"
    digest = hashlib.md5(usedforsecurity=False)
    blobs = deps(request).blobs

    async def joined() -> AsyncIterator[bytes]:
        for part_id in asked.part_ids:
            async for piece in blobs.read(part_id):
                if asked.md5:
                    digest.update(piece)
                yield piece

    stored = await blobs.write(blob, joined())
    command = CreateFile(
        filename=upload.filename,
        purpose=upload.purpose,
        bytes=stored.bytes,
        sha256=stored.sha256,
        content_type=upload.content_type,
        expires_after=upload.expires_after,
        blob=blob,
    )
    try:
        if asked.md5 and digest.hexdigest() != asked.md5:
            message = f"The file's md5 is {digest.hexdigest()}, but {asked.md5} was expected."
            raise Rejected(message, param="md5")
        written = await deps(request).writer.file(origin(request), file_id, command)
    except DomainError:
        await blobs.delete([blob])
        raise
    if not written.recorded:
        # Another try at completing made it already, of the same bytes.
        await blobs.delete([blob])


async def _unmake_file(request: web.Request, state: UploadState, file_id: str) -> None:
    """The upload was ended by another request while its file was made: the file was never announced."""
    if state.file_id == file_id:
        return
    async with deps(request).pool.acquire() as db:
        blob = await files.blob(db, file_id)
    if blob is not None:
        await deps(request).writer.file(origin(request), file_id, DeleteFile())
        await deps(request).blobs.delete([blob])


async def _shown(request: web.Request, upload_id: str) -> web.Response:
    """With its file, as long as that is there."""
    project_id = origin(request).project_id
    async with deps(request).pool.acquire() as db:
        upload = await uploads.get(db, project_id, upload_id)
        made: dict[str, File] = {}
        if upload.file_id is not None:
            made = await files.some(db, project_id, [upload.file_id], now())
    return answer(wire(request).upload(upload, made.get(upload.file_id or "")))
