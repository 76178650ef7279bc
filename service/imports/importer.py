"""Writes saved objects into a project: files, vector stores, assistants, then threads, each by an append of its own.

Ids and times are kept. What is there already is left as it is, so an interrupted import is repeated by the same
command. Events say where their object came from (`events.provenance`).
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from events import event_log
from events.assistant import CreateAssistant
from events.envelope import Origin
from events.errors import DomainError, FileNotFound
from events.file import MAX_FILE, CreateFile
from events.ids import IdSource
from events.objects import Assistant
from events.provenance import Provenance
from events.streams import ASSISTANT, FILE, THREAD, VECTOR_STORE, StreamType
from events.thread.commands import ImportThread
from events.vector_store.commands import AddFiles, CreateStore, NewFile
from projections import files
from projections import vector_store_files as store_files
from service.imports.collection import ImportPlan, StoreImport, ThreadImport
from service.imports.saved_files import Unread
from service.imports.saved_objects import SavedFile, SavedStoreFile
from service.imports.saved_tools import to_resources
from service.processes.peers import notify_servers
from service.storage.base import CHUNK, Blobs
from service.wire.filenames import last_part
from service.writer import Writer

S = TypeVar("S")
C = TypeVar("C")


@dataclass(slots=True)
class ImportReport:
    """The numbers of objects by kind that were imported, and that were there before; and what was skipped, and why."""

    imported: Counter[str] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)
    skipped: list[Unread] = field(default_factory=list)


class FileBytes:
    """The bytes of files in a folder, each under the file's id (`file-abc`, `file-abc.pdf`) or its name."""

    def __init__(self, folder: Path | None) -> None:
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*")) if folder is not None else ():
            if path.is_file():
                self._by_name[path.name].append(path)
                if path.suffix:
                    self._by_name[path.stem].append(path)

    def find(self, file: SavedFile, *, by_name: bool) -> Path | None:
        """Returns the path of the file's bytes, None if there is none or more than one.

        `by_name` if its name may be searched for, since no other file has it.
        """
        for name in (file.id, *((last_part(file.filename),) if by_name else ())):
            paths = [path for path in self._by_name.get(name, ()) if _fits(path, file)]
            if len(paths) == 1:
                return paths[0]
        return None


class ObjectImporter:
    """Imports into the project of `origin`. `source` is kept with each object. A dry run writes nothing."""

    def __init__(
        self,
        writer: Writer,
        blobs: Blobs,
        origin: Origin,
        *,
        source: str,
        files: FileBytes,
        embedding_model: str,
        can_index: Callable[[str], bool],
        max_store_files: int,
        ids: IdSource,
        dry_run: bool = False,
    ) -> None:
        self._writer = writer
        self._blobs = blobs
        self._origin = origin
        self._source = source
        self._files = files
        self._embedding_model = embedding_model
        self._can_index = can_index
        self._max_store_files = max_store_files
        self._ids = ids
        self._dry_run = dry_run
        # The files that this import creates, or would create, by id: name and bytes.
        self._new_files: dict[str, tuple[str, int]] = {}
        # How many of the saved files have a name.
        self._names: Counter[str] = Counter()

    async def run(self, plan: ImportPlan, advance: Callable[[], None]) -> ImportReport:
        """Imports the plan, and calls `advance` after each file, vector store, assistant and thread."""
        report = ImportReport(skipped=list(plan.skipped))
        self._names = Counter(last_part(file.filename) for file in plan.files)
        steps: Sequence[tuple[Sequence[Any], Callable[[Any, ImportReport], Any]]] = (
            (plan.files, self._file),
            (plan.stores, self._store),
            (plan.assistants, self._assistant),
            (plan.threads, self._thread),
        )
        for objects, write in steps:
            for each in objects:
                try:
                    await write(each, report)
                except DomainError as error:
                    report.skipped.append(Unread(_id_of(each), str(error)))
                advance()
        return report

    async def _file(self, file: SavedFile, report: ImportReport) -> None:
        if await self._find(FILE, file.id, "file", report) != "nowhere":
            return
        path = self._files.find(file, by_name=self._names[last_part(file.filename)] == 1)
        if path is None:
            reason = "its bytes are missing: put them into the folder of --files under this id or its name"
            report.skipped.append(Unread(f"file {file.id} ({file.filename})", reason))
            return
        self._new_files[file.id] = file.filename, path.stat().st_size
        if not self._dry_run:
            blob = f"{file.id}-{self._ids.token(8)}"
            stored = await self._blobs.write(blob, _pieces(path))
            command = CreateFile(
                filename=last_part(file.filename),
                purpose=file.purpose,
                bytes=stored.bytes,
                sha256=stored.sha256,
                content_type=mimetypes.guess_type(file.filename)[0] or "application/octet-stream",
                expires_after=None,
                blob=blob,
                segments=stored.segments,
                provenance=self._provenance(file.created_at),
            )
            await self._writer.file(self._origin, file.id, command)
        report.imported["file"] += 1

    async def _store(self, found: StoreImport, report: ImportReport) -> None:
        """Creates a vector store, or adds those of its files to it that it lacks."""
        store = found.store
        presence = await self._find(VECTOR_STORE, store.id, "vector store", report)
        if presence == "elsewhere":
            return
        added = [new for one in found.files if (new := await self._new_file(one, report)) is not None]
        if presence == "here":
            async with self._writer.pool.acquire() as db:
                present = await store_files.facts(db, store.id, [one.file_id for one in added])
            added = [one for one in added if one.file_id not in present]
        report.imported["vector store"] += presence == "nowhere"
        report.imported["vector store file"] += len(added)
        if self._dry_run or (presence == "here" and not added):
            return
        command = (
            CreateStore(
                name=store.name,
                description=store.description,
                metadata=store.metadata,
                expires_after=store.days,
                embedding_model=self._embedding_model,
                files=added,
                provenance=self._provenance(store.created_at),
            )
            if presence == "nowhere"
            else AddFiles(added, {}, limit=self._max_store_files)
        )
        await self._writer.vector_store(self._origin, store.id, command)
        async with self._writer.pool.acquire() as db:
            await notify_servers(db, [store.id])

    async def _new_file(self, one: SavedStoreFile, report: ImportReport) -> NewFile | None:
        """Returns the file as a vector store adds it; None, with a line in the report, if it cannot have it."""
        try:
            async with self._writer.pool.acquire() as db:
                file = await files.get(db, self._origin.project_id, one.id, self._writer.clock.now())
            filename, size = file.filename, file.bytes
        except FileNotFound:
            filename, size = self._new_files.get(one.id, ("", 0))
        place = f"vector store {one.vector_store_id}: file {one.id}"
        if not filename:
            report.skipped.append(Unread(place, "there is no such file here: the vector store gets it when there is"))
            return None
        if not self._can_index(filename):
            report.skipped.append(Unread(place, f"files such as {filename} cannot be searched"))
            return None
        return NewFile(
            file_id=one.id, filename=filename, bytes=size, attributes=one.attributes or {}, chunking=one.chunking
        )

    async def _assistant(self, assistant: Assistant, report: ImportReport) -> None:
        if await self._find(ASSISTANT, assistant.id, "assistant", report) != "nowhere":
            return
        names = (name for name in Assistant.__slots__ if name not in ("id", "created_at", "explicit_defaults"))
        settings = {name: getattr(assistant, name) for name in names}
        if not self._dry_run:
            command = CreateAssistant(settings, self._provenance(assistant.created_at))
            await self._writer.write(ASSISTANT, self._origin, assistant.id, command)
        report.imported["assistant"] += 1

    async def _thread(self, found: ThreadImport, report: ImportReport) -> None:
        thread = found.thread
        if await self._find(THREAD, thread.id, "thread", report) != "nowhere":
            return
        if not self._dry_run:
            command = ImportThread(
                metadata=thread.metadata,
                tool_resources=to_resources(thread.tool_resources, None),
                origin=None,
                objects=found.objects,
                provenance=self._provenance(thread.created_at),
            )
            await self._writer.write(THREAD, self._origin, thread.id, command)
        report.imported["thread"] += 1
        report.imported.update(type(one).__name__.lower() for one in found.objects)

    async def _find(
        self, stream_type: StreamType[S, C], id: str, noun: str, report: ImportReport
    ) -> Literal["nowhere", "here", "elsewhere"]:
        """Returns whether the id is free, or names an object of the project or of another one. Both are left so.

        An object that was deleted here still has its id.
        """
        async with self._writer.pool.acquire() as db:
            head = await event_log.head(db, id, stream_type)
        if head.version == 0:
            return "nowhere"
        if head.project_id != self._origin.project_id:
            report.skipped.append(Unread(f"{noun} {id}", "another project has an object of this id"))
            return "elsewhere"
        report.present[noun] += 1
        return "here"

    def _provenance(self, created_at: int) -> Provenance:
        return Provenance(source=self._source, created_at=created_at)


def _id_of(each: SavedFile | StoreImport | Assistant | ThreadImport) -> str:
    match each:
        case StoreImport(store=store):
            return f"vector store {store.id}"
        case ThreadImport(thread=thread):
            return f"thread {thread.id}"
        case Assistant():
            return f"assistant {each.id}"
        case _:
            return f"file {each.id}"


def _fits(path: Path, file: SavedFile) -> bool:
    """Returns whether the file at the path has the size of the saved one, if that is known."""
    size = path.stat().st_size
    return size <= MAX_FILE and (file.bytes is None or file.bytes == size)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK):
            yield piece
