"""Functions that requests and the sweep share: how an upload ended, and the deletion of a file that it must not leave.

The file of an upload is created first, and the upload's completion names it afterwards. If the completion never
happens, because its process died or another request was faster, the file belongs to nobody. The request that ends the
upload deletes the file, and the sweep deletes it if that request crashes too.
"""

from __future__ import annotations

from events import event_log
from events.envelope import Origin
from events.errors import FileNotFound
from events.file import DeleteFile
from events.ids import file_id_of
from events.streams import UPLOAD
from events.upload import UploadCompleted
from projections import files
from service.storage.base import Blobs, delete_unowned
from service.vector_stores.operations import remove_everywhere
from service.writer import Writer
from sql.connection import Connection


async def completion(db: Connection, upload_id: str) -> UploadCompleted | None:
    """Returns the completion of the upload, which is always its last event, or None if it was not completed."""
    head = await event_log.head(db, upload_id, UPLOAD)
    last = await event_log.read(db, upload_id, after=max(head.version - 1, 0), limit=1)
    return last[0].event if last and isinstance(last[0].event, UploadCompleted) else None


async def delete_leftover_file(writer: Writer, blobs: Blobs, origin: Origin, upload_id: str) -> None:
    """Deletes the file of an upload that ended without one. Does nothing if there is no such file or no such end."""
    if (await writer.load_upload(origin, upload_id)).status not in ("cancelled", "expired"):
        return
    file_id = file_id_of(upload_id)
    async with writer.pool.acquire() as db:
        blob = await files.blob_key(db, file_id)
    if blob is None:
        return
    try:
        await writer.file(origin, file_id, DeleteFile())
    except FileNotFound:  # another request was faster, or the file has expired
        return
    await remove_everywhere(writer, origin, file_id)
    await delete_unowned(blobs, [blob])
