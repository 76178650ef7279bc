"""The plan by which an assistant's settings come to name the vector store that v1's retrieval searches."""

from __future__ import annotations

from typing import Any

import pytest

from events.objects import Assistant
from events.references import files_store_id
from service.wire import v1, v2

OWN = files_store_id("asst_1")
RETRIEVAL = [{"type": "file_search", "file_search": {}}]


def files(*ids: str) -> dict[str, Any]:
    return {"code_interpreter": {"file_ids": list(ids)}}


def stores(*ids: str) -> dict[str, Any]:
    return {"file_search": {"vector_store_ids": list(ids)}}


def assistant(tools: list[dict[str, Any]], resources: dict[str, Any]) -> Assistant:
    return Assistant("asst_1", 0, "m", None, None, None, tools, resources, {}, 1.0, 1.0, "auto", None)


@pytest.mark.parametrize(
    ("before", "settings", "indexed", "resources"),
    [
        (None, {"tools": RETRIEVAL, "tool_resources": files("a", "b")}, ("a", "b"), files("a", "b") | stores(OWN)),
        (None, {"tools": [], "tool_resources": files("a")}, (), files("a")),
        (None, {"tools": RETRIEVAL, "tool_resources": {}}, (), {}),
        (assistant(RETRIEVAL, files("a")), {"tool_resources": files("b")}, ("b",), files("b") | stores(OWN)),
        (assistant([], files("a")), {"tools": RETRIEVAL}, ("a",), files("a") | stores(OWN)),
        (assistant(RETRIEVAL, files("a") | stores("vs_1")), {"tools": []}, (), files("a") | stores("vs_1")),
        (
            assistant(RETRIEVAL, files("a") | stores("vs_1", OWN)),
            {"tool_resources": files("a", "b")},
            ("a", "b"),
            files("a", "b") | stores("vs_1", OWN),
        ),
    ],
)
def test_v1_indexes_the_assistants_files_if_it_has_retrieval(
    before: Assistant | None, settings: dict[str, Any], indexed: tuple[str, ...], resources: dict[str, Any]
) -> None:
    plan = v1.WIRE.retrieval_plan("asst_1", before, settings)
    assert (plan.own_store, plan.files) == (OWN, indexed)
    assert plan.settings_with(plan.named) == settings | {"tool_resources": resources}


def test_v1_names_no_store_that_is_deleted() -> None:
    before = assistant(RETRIEVAL, files("a") | stores("vs_1"))
    plan = v1.WIRE.retrieval_plan("asst_1", before, {"tool_resources": files("a")})
    assert plan.named == ("vs_1",)
    assert plan.settings_with([])["tool_resources"] == files("a") | stores(OWN)


def test_a_request_that_does_not_concern_file_search_changes_nothing() -> None:
    before = assistant(RETRIEVAL, files("a") | stores(OWN))
    plan = v1.WIRE.retrieval_plan("asst_1", before, {"name": "n"})
    assert (plan.files, plan.named, plan.settings_with([])) == ((), (), {"name": "n"})


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (files("a") | stores("vs_1", OWN), files("a") | stores("vs_1"), files("a") | stores("vs_1", OWN)),
        (files("a") | stores(OWN), files("b"), files("b") | stores(OWN)),
        (files("a") | stores(OWN), stores("vs_1"), stores("vs_1")),
        (files("a") | stores("vs_1"), files("a"), files("a")),
    ],
)
def test_v2_keeps_the_store_of_v1s_files_while_there_are_files(
    old: dict[str, Any], new: dict[str, Any], kept: dict[str, Any]
) -> None:
    plan = v2.WIRE.retrieval_plan("asst_1", assistant(RETRIEVAL, old), {"tool_resources": new})
    assert (plan.files, plan.named) == ((), ())
    assert plan.settings_with([]) == {"tool_resources": kept}


def test_v1_alone_takes_files_out_of_the_index() -> None:
    before = assistant(RETRIEVAL, files("a", "b"))
    assert v1.WIRE.files_to_unindex(before, ["b", "c"]) == {"a"}
    assert v2.WIRE.files_to_unindex(before, []) == frozenset()
