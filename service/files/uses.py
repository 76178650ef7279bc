"""Checks the files that requests name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from events.file import check_searchable, check_use
from projections import erasures, files
from service.database import Pool
from service.wire.request_types import FileUse


async def check_file_uses(
    pool: Pool, project_id: str, uses: Iterable[FileUse], at: datetime, *, can_index: Callable[[str], bool]
) -> None:
    """Raises FileNotFound if a file does not exist at that time, and Rejection if its purpose or its type does not fit.

    `can_index` returns whether files of a name can be searched.
    """
    named = list(uses)
    if not named:
        return
    async with pool.acquire() as db:
        found = await files.find(db, project_id, {use.id for use in named}, at)
    for use in named:
        check_use(found.get(use.id), use.id, use.purposes, at)
    # Files of code stay if they are attached, also after their thread is deleted (`service.erasure`).
    made_by_code = [id for id, file in found.items() if file.purpose == "assistants_output"]
    if made_by_code:
        async with pool.acquire() as db:
            await erasures.note_attached(db, made_by_code)
    check_searchable((found[use.id].filename for use in named if use.is_searched), can_index)
