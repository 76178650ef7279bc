"""What requests and the sweep share of uploads: how one ended, and the file that it must not leave then.

The file of an upload is made first, and announced after, by the upload's completion. Where that does not come, because
its process died or another request was faster, the file is nobody's: whoever ends the upload takes it away, and what a
crash leaves even then the sweep finds.
"""

from __future__ import annotations

from events import store
from events.envelope import Origin
from events.errors import FileNotFound
from events.file import DeleteFile
from events.ids import file_id_of
from events.streams import UPLOAD
from events.upload import UploadCompleted
from projections import files
from service.storage.base import Blobs, let_go
from service.vector_stores.operations import remove_everywhere
from service.writer import Writer
from sql.connection import Connection


async def completion(db: Connection, upload_id: str) -> UploadCompleted | None:
    """How the upload was completed, which is the last that happens to one; None where it was not."""
    head = await store.head(db, upload_id, UPLOAD)
    last = await store.read(db, upload_id, after=max(head.version - 1, 0), limit=1)
    return last[0].event if last and isinstance(last[0].event, UploadCompleted) else None


async def unmake(writer: Writer, blobs: Blobs, origin: Origin, upload_id: str) -> None:
    """Takes away the file of an upload that ended without one. Nothing happens where there is none, or no such end."""
    if (await writer.load_upload(origin, upload_id)).status not in ("cancelled", "expired"):
        return
    file_id = file_id_of(upload_id)
    async with writer.pool.acquire() as db:
        blob = await files.blob(db, file_id)
    if blob is None:
        return
    try:
        await writer.file(origin, file_id, DeleteFile())
    except FileNotFound:  # another was faster, or its own time is up
        return
    await remove_everywhere(writer, origin, file_id)
    await let_go(blobs, [blob])
