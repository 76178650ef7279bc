"""The views of files and uploads: a rebuild equals the served rows, and another project's files are not found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from events.errors import FileNotFound, NotFound
from events.file import CreateFile, DeleteFile
from events.upload import AddPart, CancelUpload, CompleteUpload, CreateUpload
from projections import files, uploads
from projections.rebuild import rebuild, verify
from projections.rows import Cursor
from service.database import Pool
from sql.connection import Connection
from tests.clock import CLOCK
from tests.projections.helpers import ORIGIN, OTHER, writer

CREATE = CreateFile("a.txt", "batch", 4, "ab", "text/plain", None, "file-1")


async def test_files_are_served_as_rebuilt(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await write.file(ORIGIN, "file-1", CREATE)
    before = await files.get(db, "proj_1", "file-1", CLOCK.now())
    await db.execute("DELETE FROM files")
    assert [found.id for found in await verify(db, "file-1")] == ["file-1"]
    await rebuild(db, ["file-1"])
    assert await files.get(db, "proj_1", "file-1", CLOCK.now()) == before
    await write.file(ORIGIN, "file-1", DeleteFile())
    assert await verify(db, "file-1") == []
    with pytest.raises(FileNotFound):
        await files.get(db, "proj_1", "file-1", CLOCK.now())


async def test_uploads_are_served_as_rebuilt(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    for id, end in (("upload_1", CancelUpload()), ("upload_2", CompleteUpload(["part_upload_2"], [4], "file-1"))):
        await write.upload(ORIGIN, id, CreateUpload("a.txt", "batch", 4, "text/plain", None))
        await write.upload(ORIGIN, id, AddPart(f"part_{id}", 4, "ab"))
        assert await verify(db, id) == []
        assert list(await uploads.parts(db, id)) == [f"part_{id}"]
        await write.upload(ORIGIN, id, end)
        assert await verify(db, id) == []
        assert await uploads.parts(db, id) == {}
    assert (await uploads.get(db, "proj_1", "upload_2")).file_id == "file-1"


async def test_another_projects_are_not_there(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await write.file(ORIGIN, "file-1", CREATE)
    await write.upload(ORIGIN, "upload_1", CreateUpload("a.txt", "batch", 4, "text/plain", None))
    with pytest.raises(FileNotFound):
        await files.get(db, "proj_2", "file-1", CLOCK.now())
    with pytest.raises(FileNotFound, match="No such File object: file-1"):
        await write.file(OTHER, "file-1", DeleteFile())
    with pytest.raises(NotFound):
        await uploads.get(db, "proj_2", "upload_1")
    with pytest.raises(NotFound):
        await write.upload(OTHER, "upload_1", CancelUpload())
    assert await files.find(db, "proj_2", ["file-1"], CLOCK.now()) == {}
    assert (await files.page(db, "proj_2", Cursor(limit=10), None, CLOCK.now())).items == []
    with pytest.raises(FileNotFound):
        await files.page(db, "proj_2", Cursor(limit=10, after="file-1"), None, CLOCK.now())


async def test_a_deleted_file_can_be_made_anew(pool: Pool, db: Connection) -> None:
    """A retried request creates the same file: the file's id follows from its cause."""
    write = writer(pool)
    for command in (CREATE, DeleteFile(), replace(CREATE, blob="file-1-anew")):
        await write.file(ORIGIN, "file-1", command)
    assert (await files.get(db, "proj_1", "file-1", CLOCK.now())).blob == "file-1-anew"
    assert await verify(db, "file-1") == []
    assert await uploads.find_leftover_files(db, 10) == []
