"""The files of code_interpreter: inputs that it reads, files that it creates, and files of earlier calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from events.actors import ToolActor
from events.envelope import Origin, RecordedEvent
from events.file import CreateFile
from events.ids import IdSource, file_id_of
from events.thread import events as e
from events.thread.state import ThreadState
from projections import files, steps
from service.access.storage_quota import QuotaExceeded, StorageQuota
from service.sandbox.base import DATA, FileRefused
from service.storage.base import BlobMissing, Blobs
from service.storage.checked_read import BlobChanged, KnownBlob, read_checked
from service.tools.base import HostedRun
from service.tools.code_interpreter.inputs import KnownFile
from service.tools.code_interpreter.tool import CodeInterpreter, FileMissing, PriorCalls
from service.writer import Writer

# Bounds the earlier calls whose files are restored; the newest count.
MOST_CALLS = 500
# Bounds the files of earlier calls that a new session gets; the newest count.
MOST_RESTORED = 200
# Events that end no session.
_Ignored = (
    e.ThreadCreated
    | e.ThreadModified
    | e.ThreadForked
    | e.ImportEvent
    | e.MessageEvent
    | e.RunEvent
    | e.StepEvent
    | e.ModelCallEvent
    | e.ToolCallEvent
)
_TYPES = {"png": "image/png", "jpg": "image/jpeg", "csv": "text/csv", "txt": "text/plain", "json": "application/json"}


class DeletedThreadListener:
    """Ends the session of a thread that is deleted. A session in another process ends after its idle time."""

    def __init__(self, code: CodeInterpreter) -> None:
        self._code = code

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[e.ThreadEvent]], state: ThreadState
    ) -> None:
        for entry in recorded:
            match entry.event:
                case e.ThreadDeleted():
                    self._code.end_session(thread_id)
                case _:
                    _ignored: _Ignored = entry.event


class CodeFiles:
    def __init__(self, writer: Writer, blobs: Blobs, *, quota: StorageQuota, ids: IdSource) -> None:
        self._quota = quota
        self._writer = writer
        self._ids = ids
        self._blobs = blobs

    async def find(self, project_id: str, file_ids: Sequence[str]) -> list[KnownFile]:
        if not file_ids:
            return []
        async with self._writer.pool.acquire() as db:
            there = await files.find(db, project_id, set(file_ids), self._writer.clock.now())
        found = (there[file_id] for file_id in dict.fromkeys(file_ids) if file_id in there)
        return [
            KnownFile(id=file.id, name=file.filename, blob=file.blob, bytes=file.bytes, sha256=file.sha256)
            for file in found
        ]

    async def read(self, file: KnownFile) -> AsyncIterator[bytes]:
        try:
            async for chunk in read_checked(self._blobs, KnownBlob(key=file.blob, size=file.bytes, sha256=file.sha256)):
                yield chunk
        except (BlobMissing, BlobChanged):
            raise FileMissing(file.id) from None

    async def keep(self, run: HostedRun, cause: str, name: str, chunks: AsyncIterator[bytes]) -> str:
        # The bytes are written first, under a key that is new: the id of the file is known only when they have been
        # read.
        blob = f"code-{self._ids.token(16)}"
        await self._require_room(run.project_id, 1)
        stored = await self._blobs.write(blob, chunks)
        try:
            await self._require_room(run.project_id, stored.bytes)
        except FileRefused:
            await self._blobs.delete([blob])
            raise
        file_id = file_id_of(f"{cause}/{stored.sha256}")
        command = CreateFile(
            filename=name,
            purpose="assistants_output",
            bytes=stored.bytes,
            sha256=stored.sha256,
            content_type=_TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream"),
            expires_after=None,
            blob=blob,
            segments=stored.segments,
        )
        origin = Origin(project_id=run.project_id, actor=ToolActor("code_interpreter"), cause=run.run_id)
        written = await self._writer.file(origin, file_id, command)
        if not written.recorded:  # an earlier attempt at this call created the file
            await self._blobs.delete([blob])
        return file_id

    async def _require_room(self, project_id: str, more: int) -> None:
        """Raises FileRefused if the quota of the project does not allow `more` further bytes."""
        try:
            await self._quota.require_room(project_id, more)
        except QuotaExceeded:
            raise FileRefused("the storage quota of the project is used up") from None

    async def prior_calls(self, run: HostedRun) -> PriorCalls:
        async with self._writer.pool.acquire() as db:
            results = await steps.code_results(db, run.project_id, run.thread_id, MOST_CALLS)
        left = dict[str, str]()
        for file in (file for _, made in results for file in made):
            path = file["path"].removeprefix(f"{DATA}/")
            left.pop(path, None)  # moved to the end of the order
            left[path] = file["file_id"]
        return PriorCalls(results[-1][0] if results else None, list(left.items())[-MOST_RESTORED:])
