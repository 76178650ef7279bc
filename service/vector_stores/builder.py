"""Creates vector stores and adds files to them, after looking the files up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from events.envelope import Origin
from events.file import VECTOR_STORE_PURPOSES, check_searchable, check_use
from events.objects import VectorStore
from events.vector_store.commands import AddFiles, CreateBatch, CreateStore, NewFile
from events.vector_store.requests import FileToIndex, VectorStoreRequest
from projections import files
from projections import vector_store_files as store_files
from service.vector_stores.jobs import QuotaCheck
from service.writer import Writer
from sql.connection import Connection


class StoreBuilder:
    """Creates stores with `embedding_model`, and puts at most `max_files` files into a store.

    A file that does not exist raises FileNotFound, and one whose purpose does not fit, or whose name `can_index` says
    is of a type that cannot be indexed, raises Rejection; so does a quota that is used up. Then nothing is written.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        check_quota: QuotaCheck,
        embedding_model: str,
        can_index: Callable[[str], bool],
        max_files: int,
    ) -> None:
        self.writer = writer
        self._check_quota = check_quota
        self.can_index = can_index
        self._embedding_model = embedding_model
        self._max_files = max_files

    async def create(
        self, origin: Origin, store_id: str, request: VectorStoreRequest, *, default_days: int | None = None
    ) -> None:
        """Creates a store with its files. `default_days` is the expiry if the request does not name one."""
        command = CreateStore(
            name=request.name,
            description=request.description,
            metadata=request.metadata,
            expires_after=default_days if request.expires_after is None else request.expires_after,
            embedding_model=self._embedding_model,
            files=await self._find_files(origin, request.files),
        )
        await self.writer.vector_store(origin, store_id, command)

    async def add_files(self, origin: Origin, store_id: str, files_to_index: Sequence[FileToIndex]) -> None:
        """Adds files to a store. Raises NotFound if the store does not exist."""
        await self._add(origin, store_id, await self._find_files(origin, files_to_index))

    async def add_files_or_create(
        self,
        origin: Origin,
        store_id: str,
        files_to_index: Sequence[FileToIndex],
        *,
        days: int | None,
        skip_unsupported: bool = False,
    ) -> None:
        """Adds files to a store. If it does not exist it is created, to expire `days` after its last use.

        `skip_unsupported` leaves out files whose type cannot be indexed, instead of refusing them.
        """
        new = await self._find_files(origin, files_to_index, skip_unsupported=skip_unsupported)
        command = CreateStore(
            name=None,
            description=None,
            metadata={},
            expires_after=days,
            embedding_model=self._embedding_model,
            if_missing=True,
        )
        await self.writer.vector_store(origin, store_id, command)
        if new:
            await self._add(origin, store_id, new)

    async def copy(self, origin: Origin, source: VectorStore, store_id: str) -> None:
        """Creates a store without files that is described as another one. Does nothing if it exists."""
        command = CreateStore(
            name=source.name,
            description=source.description,
            metadata=source.metadata,
            expires_after=source.expires_after,
            embedding_model=self._embedding_model,
            if_missing=True,
        )
        await self.writer.vector_store(origin, store_id, command)

    async def add_existing(self, origin: Origin, store_id: str, files_to_index: Sequence[FileToIndex]) -> None:
        """Adds those of the files to a store that exist and whose type can be indexed."""
        async with self.writer.pool.acquire() as db:
            found = await files.find(
                db, origin.project_id, {file.id for file in files_to_index}, self.writer.clock.now()
            )
        existing = [file for file in files_to_index if file.id in found]
        new = await self._find_files(origin, existing, skip_unsupported=True)
        if new:
            await self._add(origin, store_id, new)

    async def create_batch(
        self, origin: Origin, store_id: str, batch_id: str, files_to_index: Sequence[FileToIndex]
    ) -> None:
        """Adds files to a store as a batch. Raises NotFound if the store does not exist."""
        new = await self._find_files(origin, files_to_index)

        async def command(db: Connection) -> CreateBatch:
            existing = await store_files.facts(db, store_id, _ids(new))
            return CreateBatch(batch_id, new, existing, self._max_files)

        await self.writer.vector_store(origin, store_id, command)

    async def _add(self, origin: Origin, store_id: str, new: Sequence[NewFile]) -> None:
        async def command(db: Connection) -> AddFiles:
            return AddFiles(new, await store_files.facts(db, store_id, _ids(new)), self._max_files)

        await self.writer.vector_store(origin, store_id, command)

    async def _find_files(
        self, origin: Origin, files_to_index: Sequence[FileToIndex], *, skip_unsupported: bool = False
    ) -> list[NewFile]:
        if not files_to_index:
            return []
        at = self.writer.clock.now()
        async with self.writer.pool.acquire() as db:
            found = await files.find(db, origin.project_id, {file.id for file in files_to_index}, at)
        for file in files_to_index:
            check_use(found.get(file.id), file.id, VECTOR_STORE_PURPOSES, at)
        if not skip_unsupported:
            check_searchable((found[file.id].filename for file in files_to_index), self.can_index)
        new = [
            NewFile(
                file_id=file.id,
                filename=found[file.id].filename,
                bytes=found[file.id].bytes,
                attributes=file.attributes,
                chunking=file.chunking,
            )
            for file in files_to_index
            if self.can_index(found[file.id].filename)
        ]
        if new:
            await self._check_quota(origin.project_id)
        return new


def _ids(new: Sequence[NewFile]) -> list[str]:
    return [file.file_id for file in new]
