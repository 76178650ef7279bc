"""The vector stores of assistants and threads: those that a request names, has created, or fills with attachments.

No transaction crosses streams. The store comes first, under an id that is derived from its owner's id, and the event
of the owner that names it comes second. A crash between the two leaves a store that nothing names, which is harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from events import event_log
from events.envelope import Origin
from events.ids import IdSource
from events.objects import Json, VectorStoreFile
from events.references import own_store_id, stores_of, with_stores
from events.streams import THREAD
from events.thread.commands import AddMessage, CreateRun, ModifyThread, NewMessage
from events.thread.events import ThreadCreated
from events.vector_store.events import Chunking
from events.vector_store.requests import FileToIndex
from events.vector_store.state import DEFAULT_OVERLAP, DEFAULT_SIZE, THREAD_DAYS
from projections import threads, vector_store_files, vector_stores
from projections.rows import Cursor
from service.vector_stores import operations
from service.vector_stores.builder import StoreBuilder

# Files of a store that are copied at once.
COPIED_FILES = 100
_DEFAULT_SIZES: Json = {"max_chunk_size_tokens": DEFAULT_SIZE, "chunk_overlap_tokens": DEFAULT_OVERLAP}


class Attachments:
    """Prepares the stores that a command for an assistant, a thread or a run will name.

    Every method raises NotFound for a store that does not exist, FileNotFound for a file that does not exist, and
    Rejection for a file whose purpose or type does not fit. `skip_unsupported` keeps files whose type cannot be indexed
    out of the store, instead of refusing them.
    """

    def __init__(self, builder: StoreBuilder) -> None:
        self._builder = builder
        self._writer = builder.writer

    async def create_stores(
        self, origin: Origin, resources: Json, ids: IdSource, *, owner_id: str | None = None, days: int | None = None
    ) -> Json:
        """Returns tool_resources with ids of stores only, after creating those that they describe.

        `owner_id` is the new object that will name the store; its store's id is derived from it. `days` is the expiry
        of a store that does not name one. Checks that the other stores of the resources exist.
        """
        named = stores_of(resources)
        if named:
            async with self._writer.pool.acquire() as db:
                await operations.get_stores(db, origin.project_id, named, self._writer.clock.now())
        requests = resources.get("file_search", {}).get("vector_stores", ())
        if not requests:
            return resources
        created = []
        for request in requests:
            store_id = own_store_id(owner_id) if owner_id is not None else ids.new_hex("vs")
            await self._builder.create(origin, store_id, request, default_days=days)
            created.append(store_id)
        return with_stores(resources, created)

    async def prepare_thread(
        self,
        origin: Origin,
        thread_id: str,
        resources: Json,
        messages: Sequence[NewMessage],
        ids: IdSource,
        *,
        skip_unsupported: bool,
    ) -> Json:
        """Returns the tool_resources of a new thread, after creating its store and adding the messages' attachments."""
        resources = await self.create_stores(origin, resources, ids, owner_id=thread_id, days=THREAD_DAYS)
        before = stores_of(resources)
        named = await self._add_attachments(origin, thread_id, messages, before, skip_unsupported)
        return with_stores(resources, named) if named else resources

    async def attach(
        self,
        origin: Origin,
        thread_id: str,
        messages: Sequence[NewMessage],
        command: AddMessage | CreateRun,
        *,
        skip_unsupported: bool,
    ) -> None:
        """Adds the attachments of new messages of a thread to its store, which is created if it is missing.

        `command` will append the messages; if it would be refused, this raises the same error and writes nothing. A
        thread that names no store gets this one with the message (`events.object_changes.attach_files`). A thread whose
        store is deleted is modified here, aside from the request's own append, so that another attempt finds it done.
        So is a fork that still has the store of its origin: it gets a copy of that store first, and adds to the copy.
        """
        if not any(_searched_files(messages)):
            return
        await self._writer.check(THREAD, origin, thread_id, command)
        async with self._writer.pool.acquire() as db:
            resources = (await threads.get(db, origin.project_id, thread_id)).tool_resources
        before = stores_of(resources)
        written = await self._copy_shared_store(origin, thread_id, before)
        named = await self._add_attachments(origin, thread_id, messages, written, skip_unsupported)
        if before and named != before:
            change = ModifyThread({"tool_resources": with_stores(resources, named)})
            await self._writer.thread(origin.for_uncounted_append(thread_id), thread_id, change)

    async def fill_own_store(self, origin: Origin, own_store: str, file_ids: Sequence[str]) -> None:
        """Adds an assistant's files to the store of its own, which is created if it is missing."""
        if file_ids:
            await self._add(origin, own_store, file_ids, None)

    async def take_from_own_store(self, origin: Origin, own_store: str, file_ids: Collection[str]) -> None:
        """Removes files from the store of an assistant's own."""
        for file_id in file_ids:
            await operations.remove_file(self._writer, origin, own_store, file_id)

    async def find_existing(self, origin: Origin, named: Sequence[str]) -> list[str]:
        """Returns those of the stores that exist, in order."""
        if not named:
            return []
        async with self._writer.pool.acquire() as db:
            found = await vector_stores.find(db, origin.project_id, named, self._writer.clock.now())
        return [id for id in named if id in found]

    async def _add_attachments(
        self,
        origin: Origin,
        thread_id: str,
        messages: Sequence[NewMessage],
        named: list[str],
        skip_unsupported: bool,
    ) -> list[str]:
        """Returns the stores of the thread, after adding the messages' attachments to its first store that exists."""
        file_ids = list(dict.fromkeys(_searched_files(messages)))
        if not file_ids:
            return named
        existing = await self.find_existing(origin, named)
        store_id = existing[0] if existing else own_store_id(thread_id)
        await self._add(origin, store_id, file_ids, THREAD_DAYS, skip_unsupported=skip_unsupported)
        return [store_id]

    async def _copy_shared_store(self, origin: Origin, thread_id: str, named: list[str]) -> list[str]:
        """Returns the stores of a thread, with a copy of its own in place of the store that it shares with its origin.

        Does nothing if the thread is no fork, or already has a store of its own.
        """
        own = own_store_id(thread_id)
        existing = await self.find_existing(origin, named)
        if not existing or existing[0] == own:
            return named
        async with self._writer.pool.acquire() as db:
            [first] = await event_log.read(db, thread_id, limit=1)
        created = first.event
        assert isinstance(created, ThreadCreated)
        if created.origin is None or existing[0] not in stores_of(created.tool_resources):
            return named
        await self._copy_store(replace(origin, effects=None), existing[0], own)
        return [own]

    async def _copy_store(self, origin: Origin, source: str, own: str) -> None:
        """Creates a store with the files of another one, which are indexed again. To repeat it changes nothing."""
        now = self._writer.clock.now()
        async with self._writer.pool.acquire() as db:
            found = (await vector_stores.find(db, origin.project_id, [source], now))[source]
        await self._builder.copy(origin, found, own)
        cursor: Cursor = Cursor(COPIED_FILES, "asc")
        while True:
            async with self._writer.pool.acquire() as db:
                page = await vector_store_files.page(db, origin.project_id, source, cursor, now)
            await self._builder.add_existing(origin, own, [_to_index(file) for file in page.items])
            if not page.more:
                return
            cursor = Cursor(COPIED_FILES, "asc", after=page.items[-1].id)

    async def _add(
        self,
        origin: Origin,
        store_id: str,
        file_ids: Sequence[str],
        days: int | None,
        *,
        skip_unsupported: bool = False,
    ) -> None:
        files = [FileToIndex(id, Chunking(**_DEFAULT_SIZES), {}) for id in file_ids]
        await self._builder.add_files_or_create(origin, store_id, files, days=days, skip_unsupported=skip_unsupported)


def _to_index(file: VectorStoreFile) -> FileToIndex:
    return FileToIndex(
        file.id, Chunking(**(_DEFAULT_SIZES if file.chunking is None else file.chunking)), file.attributes
    )


def _searched_files(messages: Sequence[NewMessage]) -> Iterable[str]:
    """Yields the files that messages attach for file_search."""
    for message in messages:
        for attachment in message.attachments:
            if any(tool["type"] == "file_search" for tool in attachment.get("tools", ())):
                yield attachment["file_id"]
