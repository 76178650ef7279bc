"""The router: it selects the upstream of a call, counts tokens and checks the default upstream."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.model import base, router
from service.model.base import ChatRequest, ModelInfo, ModelStreamEnd, TextDelta
from service.model.catalog import CatalogError
from service.model.router import Router
from tests.model.conftest import open_test_model
from tests.scripted import ScriptedServer, errors, says


def request_for(model: str) -> ChatRequest:
    return ChatRequest(model, [{"role": "user", "content": "Hi"}])


async def test_calls_go_to_the_upstream_in_the_catalogue(server: ScriptedServer, tmp_path: Path) -> None:
    async with ScriptedServer(says("there", usage=False)) as other:
        path = tmp_path / "models.toml"
        path.write_text(f'[[models]]\nmatch = "far-*"\nbase_url = "{other.base_url}"\nname = "theirs"\n')
        server.script(says("here", usage=False))
        model = open_test_model(server.base_url + "/", "key-of-default", path)
        assert isinstance(model, base.Model)
        for name, text in (("gpt-4", "here"), ("far-1", "there")):
            events = [event async for batch in model.stream(request_for(name)) for event in batch]
            assert events == [TextDelta(text), ModelStreamEnd("stop", None, "scripted")]
        assert [server.requests[0]["model"], other.requests[0]["model"]] == ["gpt-4", "theirs"]
        assert other.headers[0]["Authorization"] == "Bearer none"
        await model.close()


async def test_counts_include_the_margin() -> None:
    served = ModelInfo("small", 8192, "cl100k_base", 1.5, vision=False, tools=False)
    model = open_test_model("http://127.0.0.1:9/v1", embedded=served)
    await model.prepare("anything")
    assert model.info("anything") == served
    assert model.count_tokens("anything", "tiktoken is great!") == 9
    assert model.token_bound("anything", "tiktoken is great!") == 27
    await model.close()


async def test_the_answer_of_a_health_check_is_kept(server: ScriptedServer) -> None:
    now = 0.0
    model: Router = open_test_model(server.base_url)
    model._clock = lambda: now
    assert [await model.check_health() for _ in range(3)] == [None, None, None]
    assert server.model_list_requests == 1
    await server.close()
    now = router.HEALTH_FOR_S
    assert "cannot be reached" in (await model.check_health() or "")
    await model.close()


def test_an_invalid_base_url_is_reported_in_one_line() -> None:
    with pytest.raises(CatalogError, match="EVERTHREAD_MODEL_BASE_URL: an http:// or https:// URL was expected"):
        open_test_model("localhost:8000")


async def test_a_failed_call_does_not_affect_the_next_call(server: ScriptedServer) -> None:
    model = open_test_model(server.base_url)
    server.script(errors(400), says("fine", usage=False))
    with pytest.raises(base.ModelError):
        await anext(model.stream(request_for("m")))
    assert await anext(model.stream(request_for("m"))) == [TextDelta("fine")]
    await model.close()
