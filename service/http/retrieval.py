"""Carries out a version's plan for the vector stores that an assistant's file search needs."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from events.objects import Assistant, Json
from events.references import files_store_id
from service.http.context import origin, wire
from service.http.services import VECTOR_STORES


async def add_retrieval_stores(
    request: web.Request, assistant_id: str, before: Assistant | None, settings: Json
) -> Json:
    """Returns settings of an assistant, or changes of them, with the stores that its file search needs.

    Files are in the assistant's own store afterwards if the version searches them (`service.wire.retrieval`). `before`
    is None for a new assistant. Raises FileNotFound and Rejection.
    """
    plan = wire(request).retrieval_plan(assistant_id, before, settings)
    attachments = request.app[VECTOR_STORES].attachments
    existing = await attachments.find_existing(origin(request), plan.named)
    await attachments.fill_own_store(origin(request), plan.own_store, plan.files)
    return plan.settings_with(existing)


async def remove_from_own_store(request: web.Request, before: Assistant, after: Iterable[str]) -> None:
    """Removes files from the store of the assistant's own if the version takes them from the assistant.

    `after` are the files that the assistant will have. This comes before the assistant changes: after a crash in
    between, another attempt still finds the files.
    """
    file_ids = wire(request).files_to_unindex(before, after)
    attachments = request.app[VECTOR_STORES].attachments
    await attachments.take_from_own_store(origin(request), files_store_id(before.id), file_ids)
