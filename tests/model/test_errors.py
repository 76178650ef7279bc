"""Errors of a model server become a code and a cause."""

from __future__ import annotations

from typing import Any

import pytest

from service.model import retry
from service.model.base import TextDelta
from service.model.errors import hide_addresses
from tests.model.conftest import KEY, Caller, failure
from tests.scripted import ScriptedServer, errors, says

CONTEXT = {"error": {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"}}
UNKNOWN = {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}


HTML = {"content-type": "text/html; charset=utf-8"}
EVENTS = {"content-type": "text/event-stream"}
PAGE = "<!DOCTYPE html><html><head><title>Log in</title></head></html>"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (errors(400, CONTEXT), "invalid_prompt", "(400): maximum context length is 8192 tokens"),
        (errors(422, {"detail": [{"loc": ["body"], "msg": "bad schema"}]}), "invalid_prompt", "(422): bad schema"),
        (errors(413, "<html>too large</html>"), "invalid_prompt", "(413): an HTML page: too large"),
        (errors(400, UNKNOWN), "server_error", "(400): The model `x` does not exist"),
        (errors(404, UNKNOWN), "server_error", "(404): The model `x` does not exist"),
        (errors(401, {"error": {"message": f"Incorrect API key: {KEY}"}}), "server_error", "Incorrect API key: ***"),
        (errors(403, f"key sk-proj-abc***xyz and Bearer {KEY[3:]}"), "server_error", "key *** and Bearer ***"),
        (errors(429), "rate_limit_exceeded", "rate limit is exceeded (429): scripted error 429"),
        (errors(500, ""), "server_error", "The model server failed (500): no further words"),
    ],
)
async def test_an_error_has_a_code_and_a_cause(
    server: ScriptedServer, caller: Caller, reply: Any, code: str, words: str
) -> None:
    server.script(*[reply] * retry.MAX_ATTEMPTS)
    error = await failure(caller)
    assert (error.code, words in error.message) == (code, True), error.message


async def test_an_error_inside_the_stream(server: ScriptedServer, caller: Caller) -> None:
    said = says("a")
    for inside, code in [
        (b'data: {"error":{"message":"over","type":"rate_limit_error"}}\n\n', "rate_limit_exceeded"),
        (b'data: {"error":{"message":"context","code":400}}\n\n', "invalid_prompt"),
        (b"event: error\ndata: gone\n\n", "server_error"),
        (b"data: {broken\n\n", "server_error"),
        (b"", "server_error"),
    ]:
        server.script(said.with_frames(*said.frames[:2], inside))
        assert (await failure(caller)).code == code
    first = said.with_frames(b'data: {"error":{"message":"loading","code":503}}\n\n')
    server.script(first, said)
    assert (await caller.call())[0] == TextDelta("a")
    server.script(said.with_frames(b'data: {"error":{"message":"context","code":400}}\n\n'))
    assert (await failure(caller)).code == "invalid_prompt"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (errors(200, PAGE, HTML), "no chat completion: an HTML page: Log in"),
        (errors(200, "<html><body>Wait</body></html>"), "no chat completion: an HTML page: Wait"),
        (errors(200, {"models": []}), 'JSON that is no chat completion: {"models":[]}'),
        (errors(200, '{\n  "models": []\n}', EVENTS), 'JSON that is no chat completion: {\n  "models": []'),
        (errors(200, "Ollama is running", EVENTS), "no chat completion: Ollama is running"),
        (errors(200, "", EVENTS), "The model server sent an empty answer."),
        (errors(200, {"detail": "Not authenticated"}), "broke off its answer: Not authenticated"),
        (errors(302, "", {"location": "/v1/models"}), "redirects to another address (302)"),
        (errors(301, "", {"location": "/nowhere"}), "redirects to another address (301)"),
    ],
)
async def test_an_answer_of_another_kind_says_what_came(
    server: ScriptedServer, caller: Caller, reply: Any, words: str
) -> None:
    server.default = reply
    error = await failure(caller)
    assert (error.code, words in error.message) == ("server_error", True), error.message


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("no route to gpu-7.corp.example:8000", "no route to ***"),
        ("http://GPU-7.corp.example/v1 failed", "http://***/v1 failed"),
        ("upstream 10.1.2.3:8080 and 192.168.0.9.", "upstream *** and ***."),
        ("see https://example.com/docs and 8.8.8.8", "see https://example.com/docs and 8.8.8.8"),
        ("not-gpu-7.corp.example stays, version 1.2.3 too", "not-gpu-7.corp.example stays, version 1.2.3 too"),
    ],
)
def test_addresses_are_hidden(text: str, hidden: str) -> None:
    assert hide_addresses(text, "http://gpu-7.corp.example:8000/v1") == hidden


def test_a_host_that_is_a_word_is_hidden_only_if_it_is_written_as_a_host() -> None:
    text = "model: no such model at http://model/v1 or model:8000"
    assert hide_addresses(text, "http://model:8000/v1") == "model: no such model at http://***/v1 or ***"


async def test_texts_of_the_server_do_not_name_its_address(server: ScriptedServer, caller: Caller) -> None:
    server.default = errors(500, {"error": {"message": f"upstream {server.origin} at 10.0.0.5:8000 is down"}})
    assert (await failure(caller)).message == "The model server failed (500): upstream http://*** at *** is down"
    assert await caller.upstream.check_health() in (None, "The model server answered with status 500.")
