"""The model that runs see."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.model import base, router
from service.model.base import ChatRequest, Finished, ModelInfo, TextDelta
from service.model.catalog import CatalogError
from service.model.router import Router
from tests.model.conftest import routed
from tests.scripted import ScriptedServer, errors, says


def asked(model: str) -> ChatRequest:
    return ChatRequest(model, [{"role": "user", "content": "Hi"}])


async def test_calls_go_where_the_catalogue_says(server: ScriptedServer, tmp_path: Path) -> None:
    async with ScriptedServer(says("there", usage=False)) as other:
        path = tmp_path / "models.toml"
        path.write_text(f'[[models]]\nmatch = "far-*"\nbase_url = "{other.base_url}"\nname = "theirs"\n')
        server.script(says("here", usage=False))
        model = routed(server.base_url + "/", "key-of-default", path)
        assert isinstance(model, base.Model)
        for name, text in (("gpt-4", "here"), ("far-1", "there")):
            events = [event async for batch in model.stream(asked(name)) for event in batch]
            assert events == [TextDelta(text), Finished("stop", None, "scripted")]
        assert [server.requests[0]["model"], other.requests[0]["model"]] == ["gpt-4", "theirs"]
        assert other.headers[0]["Authorization"] == "Bearer none"
        await model.close()


async def test_counts_include_the_margin() -> None:
    served = ModelInfo("small", 8192, "cl100k_base", 1.5, vision=False, tools=False)
    model = routed("http://127.0.0.1:9/v1", served=served)
    await model.prepare("anything")
    assert model.info("anything") == served
    assert model.count("anything", "tiktoken is great!") == 9
    assert model.at_most("anything", "tiktoken is great!") == 27
    await model.close()


async def test_health_is_asked_once_in_a_while(server: ScriptedServer) -> None:
    now = 0.0
    model: Router = routed(server.base_url)
    model._clock = lambda: now
    assert [await model.healthy() for _ in range(3)] == [None, None, None]
    assert server.models_asked == 1
    await server.close()
    now = router.HEALTH_FOR_S
    assert "cannot be reached" in (await model.healthy() or "")
    await model.close()


def test_a_bad_base_url_is_one_clear_line() -> None:
    with pytest.raises(CatalogError, match="EVERTHREAD_MODEL_BASE_URL: an http:// or https:// URL was expected"):
        routed("localhost:8000")


async def test_a_call_that_fails_leaves_the_next_one_alone(server: ScriptedServer) -> None:
    model = routed(server.base_url)
    server.script(errors(400), says("fine", usage=False))
    with pytest.raises(base.ModelError):
        await anext(model.stream(asked("m")))
    assert await anext(model.stream(asked("m"))) == [TextDelta("fine")]
    await model.close()
