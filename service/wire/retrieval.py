"""The vector store that v1's retrieval searches.

In v1, retrieval searches the file_ids of an assistant. The server keeps them in a vector store of the assistant's own,
which neither version shows to clients. In v2, clients name the vector stores that file_search searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from events.objects import Assistant, Json
from events.references import files_of, files_store_id, stores_of, with_stores


@dataclass(frozen=True, slots=True)
class RetrievalPlan:
    """The steps by which an assistant's settings come to name the vector stores that its file search searches.

    `settings` are those that the request gives, and `resources` the assistant's tool_resources after the request, or
    None if the request does not affect its file search. Before the settings are stored, `files` must be in the store
    `own_store`. `named` are the other stores that the assistant names: those that still exist stay named.
    """

    settings: Json
    own_store: str
    resources: Json | None = None
    files: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    def settings_with(self, existing: Sequence[str]) -> Json:
        """Returns the settings to store; `existing` are the stores of `named` that exist."""
        if self.resources is None:
            return self.settings
        stores = list(existing)
        if self.files:
            stores = [*(id for id in existing if id != self.own_store), self.own_store]
        return {**self.settings, "tool_resources": with_stores(self.resources, stores) if stores else self.resources}


def v1_plan(assistant_id: str, before: Assistant | None, settings: Json) -> RetrievalPlan:
    """Returns the plan for settings (or changes of them) from a v1 client; `before` is None for a new assistant."""
    own_store = files_store_id(assistant_id)
    if not settings.keys() & {"tools", "tool_resources"}:
        return RetrievalPlan(settings, own_store)
    old = before.tool_resources if before is not None else {}
    resources = {**old, **settings.get("tool_resources", {})}
    tools = settings.get("tools", before.tools if before is not None else ())
    searches = any(tool["type"] == "file_search" for tool in tools)
    files = files_of(settings.get("tool_resources", old)) if searches else []
    return RetrievalPlan(
        settings=settings,
        own_store=own_store,
        resources=resources,
        files=tuple(files),
        named=tuple(stores_of(old)),
    )


def v2_plan(assistant_id: str, before: Assistant | None, settings: Json) -> RetrievalPlan:
    """Returns the plan for settings (or changes of them) from a v2 client.

    A v2 client is not shown the store of v1's files, so it cannot send it back. The store stays named as long as the
    assistant has files.
    """
    own_store = files_store_id(assistant_id)
    old, new = before.tool_resources if before is not None else {}, settings.get("tool_resources", {})
    if own_store not in stores_of(old) or not files_of(new):
        return RetrievalPlan(settings, own_store)
    stores = [*(id for id in stores_of(new) if id != own_store), own_store]
    return RetrievalPlan({**settings, "tool_resources": with_stores(new, stores)}, own_store)


def removed_files(before: Assistant, after: Iterable[str]) -> frozenset[str]:
    """Returns the files of the assistant that are not among `after`."""
    return frozenset(files_of(before.tool_resources)) - frozenset(after)
