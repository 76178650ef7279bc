"""Collects saved objects into threads, with their messages, runs and steps, and says what is missing or doubled. Pure.

Objects may come in any order and more than once. If two objects of an id differ, the one that had ended is used, or
else the one that was read last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from events.objects import Assistant, Message, Run, Step
from service.imports.saved_files import Found, FoundObject, Unread
from service.imports.saved_objects import (
    SavedAssistant,
    SavedFile,
    SavedMessage,
    SavedObject,
    SavedRun,
    SavedStep,
    SavedStore,
    SavedStoreFile,
    SavedThread,
)

S = TypeVar("S", bound=SavedObject)
_Member = SavedMessage | SavedRun | SavedStep
_MODELS: dict[str, type[SavedObject]] = {
    "assistant": SavedAssistant,
    "file": SavedFile,
    "message": SavedMessage,
    "run": SavedRun,
    "step": SavedStep,
    "thread": SavedThread,
    "vector_store": SavedStore,
    "vector_store_file": SavedStoreFile,
}


@dataclass(frozen=True, slots=True)
class ThreadImport:
    """A thread and its objects in the order of their creation; a run comes before its steps and messages."""

    thread: SavedThread
    objects: Sequence[Message | Run | Step]


@dataclass(frozen=True, slots=True)
class StoreImport:
    store: SavedStore
    files: Sequence[SavedStoreFile]


@dataclass(slots=True)
class ImportPlan:
    """All that is to be imported. `skipped` is what is not, `notes` is what was changed or is missing."""

    assistants: list[Assistant] = field(default_factory=list)
    files: list[SavedFile] = field(default_factory=list)
    stores: list[StoreImport] = field(default_factory=list)
    threads: list[ThreadImport] = field(default_factory=list)
    skipped: list[Unread] = field(default_factory=list)
    notes: list[Unread] = field(default_factory=list)


def collect(found: Iterable[Found]) -> ImportPlan:
    """Returns the plan of an import of these objects."""
    plan, objects = ImportPlan(), _Objects()
    for each in found:
        if isinstance(each, Unread):
            plan.skipped.append(each)
        else:
            objects.add(each, plan)
    plan.assistants = [found for one in objects.of(SavedAssistant) if (found := _convert(one, objects, plan))]
    plan.files = objects.of(SavedFile)
    store_files: defaultdict[str, list[SavedStoreFile]] = defaultdict(list)
    for one in objects.of(SavedStoreFile):
        store_files[one.vector_store_id].append(one)
    plan.stores = [StoreImport(one, store_files.pop(one.id, ())) for one in objects.of(SavedStore)]
    for id in store_files:
        plan.skipped.append(Unread(f"vector store {id}", "its files were saved, and not the vector store"))
    plan.threads = _threads(objects, plan)
    return plan


class _Objects:
    """The saved objects by kind and id."""

    def __init__(self) -> None:
        self._found: dict[tuple[type[SavedObject], str], tuple[SavedObject, str]] = {}
        # Ids of the objects that were in a list whose order is that of their creation.
        self.ordered: set[str] = set()

    def add(self, found: FoundObject, plan: ImportPlan) -> None:
        model = _MODELS[found.kind]
        try:
            one = model.model_validate(found.fields)
        except ValidationError as error:
            plan.skipped.append(Unread(found.place, f"{found.kind} {found.fields.get('id', '')}: {_reason(error)}"))
            return
        id = f"{one.vector_store_id}/{one.id}" if isinstance(one, SavedStoreFile) else one.id
        if found.is_ordered:
            self.ordered.add(id)
        known = self._found.get((model, id))
        if known is not None and known[0] != one:
            chosen, place = (one, found.place) if _has_ended(one) or not _has_ended(known[0]) else known
            plan.notes.append(Unread(found.place, f"{found.kind} {id} differs from {known[1]}: {place} is used"))
            self._found[model, id] = chosen, place
        elif known is None:
            self._found[model, id] = one, found.place

    def of(self, model: type[S]) -> list[S]:
        return [one for (kind, _), (one, _) in self._found.items() if kind is model and isinstance(one, model)]

    def place(self, one: SavedObject) -> str:
        return self._found[type(one), one.id][1]


def _has_ended(one: SavedObject) -> bool:
    match one:
        case SavedRun():
            return one.has_ended
        case SavedStep() | SavedMessage():
            return one.status != "in_progress"
        case _:
            return True


def _threads(objects: _Objects, plan: ImportPlan) -> list[ThreadImport]:
    runs = {one.id: one for one in objects.of(SavedRun)}
    by_thread: defaultdict[str, list[_Member]] = defaultdict(list)
    members: list[_Member] = [*objects.of(SavedMessage), *runs.values(), *objects.of(SavedStep)]
    for member in members:
        by_thread[member.thread_id].append(member)
    threads = {one.id: one for one in objects.of(SavedThread)}
    for id, found in by_thread.items():
        if id not in threads:
            threads[id] = SavedThread(id=id, created_at=min(one.created_at for one in found))
            plan.notes.append(Unread(f"thread {id}", "it was not saved itself: it begins with its first object"))
    return [
        ThreadImport(thread, _objects_of(thread, by_thread[id], runs, objects, plan)) for id, thread in threads.items()
    ]


def _objects_of(
    thread: SavedThread,
    members: Sequence[_Member],
    runs: dict[str, SavedRun],
    objects: _Objects,
    plan: ImportPlan,
) -> list[Message | Run | Step]:
    """Returns the objects of a thread in the order of their creation."""
    order = _ThreadOrder(all(one.id in objects.ordered for one in members if isinstance(one, SavedMessage)))
    converted = {one.id: _convert(one, objects, plan) for one in members if isinstance(one, SavedRun)}
    for one in members:
        if isinstance(one, SavedStep) and converted.get(one.run_id) is None:
            plan.skipped.append(Unread(objects.place(one), f"step {one.id}: its run {one.run_id} is not imported"))
            continue
        found = converted[one.id] if isinstance(one, SavedRun) else _convert(one, objects, plan)
        if found is None:
            continue
        order.add(found, runs)
        if not _has_ended(one):
            reason = f"{one.id} had not ended when it was saved: it is {found.status}"
            plan.notes.append(Unread(objects.place(one), reason))
    return order.sort()


class _ThreadOrder:
    """Puts the objects of a thread in order: by their seconds, and within a second as they must have followed.

    Messages of the same second keep their order if `is_saved`; if not, a question comes before an answer. A run comes
    before its first message, and with its steps behind it.
    """

    def __init__(self, is_saved: bool) -> None:
        self._is_saved = is_saved
        self._messages: list[tuple[tuple[int, int, int], Message]] = []
        self._runs: list[tuple[int, Run]] = []
        self._steps: defaultdict[str, list[tuple[tuple[int, bool], Step]]] = defaultdict(list)

    def add(self, found: Message | Run | Step, runs: dict[str, SavedRun]) -> None:
        match found:
            case Message():
                run = runs.get(found.run_id or "")
                at = found.created_at if run is None else max(found.created_at, run.created_at)
                is_answer = not self._is_saved and (found.role == "assistant" or run is not None)
                self._messages.append(((at, int(is_answer), len(self._messages)), found))
            case Run():
                self._runs.append((found.created_at, found))
            case _:
                self._steps[found.run_id].append(((found.created_at, found.type != "tool_calls"), found))

    def sort(self) -> list[Message | Run | Step]:
        """Returns all objects in order."""
        self._messages.sort(key=lambda pair: pair[0])
        messages, times = [found for _, found in self._messages], [at for (at, _, _), _ in self._messages]
        place_of_first: dict[str, int] = {}
        for place, message in enumerate(messages):
            if message.run_id is not None:
                place_of_first.setdefault(message.run_id, place)
        before: defaultdict[int, list[Run]] = defaultdict(list)
        for at, run in sorted(self._runs, key=lambda pair: pair[0]):
            before[place_of_first.get(run.id, bisect_right(times, at))].append(run)
        found: list[Message | Run | Step] = []
        for place in range(len(messages) + 1):
            for run in before[place]:
                found += [run, *(step for _, step in sorted(self._steps[run.id], key=lambda pair: pair[0]))]
            found += messages[place : place + 1]
        return found


def _convert(one: SavedObject, objects: _Objects, plan: ImportPlan) -> Any:
    """Returns the object of Everthread, or None if the saved one has no known form."""
    try:
        match one:
            case SavedAssistant():
                return one.to_assistant()
            case SavedMessage():
                return one.to_message()
            case SavedRun():
                return one.to_run()
            case SavedStep():
                return one.to_step()
            case _:
                return one
    except ValueError as error:
        plan.skipped.append(Unread(objects.place(one), f"{one.id}: {error}"))
        return None


def _reason(error: ValidationError) -> str:
    """Returns the first fault of an object, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]
