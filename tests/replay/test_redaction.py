"""No secret survives in a recording, and a recording without texts still follows from its events."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest

from events.errors import DomainError
from events.thread import events as e
from events.thread.commands import FinishModelCall, PartialReply
from service.replay.check_stream import groups_of
from service.replay.check_thread import ThreadReplayCheck
from service.replay.deviations import LoggedEvent
from service.replay.recorded_events import NotReadable, parse_line
from service.replay.redaction import SECRETS, blank_text, redact, replace_secrets
from service.replay.run_recorder import record_lines
from tests.events.thread.histories import World
from tests.events.thread.story import CREATE, FUNCTION, Story, add, claim, given, run, submit
from tests.replay.regex_steps import StepCounter

# For each pattern, a secret and the text around it.
PLANTED: dict[str, tuple[str, str]] = {
    "private_key": ("MIIEvQIBADANBgkqh", "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----"),
    "openai_key": ("sk-proj-abcDEF0123456789", "my key is {}, keep it"),
    "everthread_key": ("et-" + "aB3_" * 10, "export OPENAI_API_KEY={}"),
    "webhook_secret": ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "use {}"),
    "github_token": ("ghp_0123456789abcdefghijABCDEFGHIJ", "clone with {}!"),
    "gitlab_token": ("glpat-abcdefghij0123456789", "{}"),
    "slack_token": ("xoxb-123456789012-abcdef", "({})"),
    "aws_key": ("AKIAIOSFODNN7EXAMPLE", "id {} end"),
    "google_key": ("AIzaSyA-0123456789abcdefghijklmnopqrstu", "{}"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P", "cookie {}"),
    "bearer_token": ("abcdef.0123456789-XYZ~", "Authorization: Bearer {}"),
    "url_password": ("hunter2hunter2", "postgresql://ann:{}@db.internal/main"),
    "url_signature": ("0a1b2c3d4e5f6a7b8c9d", "https://files.internal/a?sig={}&x=1"),
    "named_secret": ("correct-horse", '{{"password": "{}"}}'),
    "email": ("ann.lee+work@mail.example.com", "write to {}."),
}


def test_each_pattern_has_a_case() -> None:
    assert PLANTED.keys() == SECRETS.keys()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_replaced_by_its_name(name: str) -> None:
    secret, around = PLANTED[name]
    text = around.format(secret)
    cleaned = replace_secrets(text)
    assert secret not in cleaned
    assert len(cleaned) == len(text)
    assert replace_secrets(cleaned) == cleaned
    assert SECRETS[name].search(text) is not None


# Texts without the end that a pattern waits for: each piece is repeated, and so is each beginning of a secret.
PIECES = [
    "a",
    "a.",
    "a-",
    "a+",
    ".",
    "%",
    "@",
    "a@",
    "@a.",
    "a@a",
    "://",
    "a://",
    "a:",
    ":",
    "a://a:",
    "/",
    "=",
    "-",
    "_",
]
PIECES += [
    "sk-",
    "et-",
    "eyJ",
    "-eyJaaaaaaaa",
    "eyJaaaaaaaa.",
    ".eyJ",
    "x-amz-",
    "?x-amz-a",
    "token",
    "token ",
    "token=",
    "key:",
]
PIECES += [
    " ",
    "\n",
    "bearer ",
    "basic",
    "-----BEGIN ",
    "PRIVATE KEY",
    "-----BEGIN PRIVATE KEY-----",
    "-----END A",
    "ghp_",
    "glpat-",
]
SHORT, LONG = 100, 400


@pytest.mark.parametrize("name", SECRETS)
def test_a_search_takes_steps_in_proportion_to_the_text(name: str) -> None:
    secret, around = PLANTED[name]
    beginnings = [around.format(secret)[:cut] for cut in range(1, len(around.format(secret)) + 1, 5)]
    for piece in (*PIECES, *beginnings):
        short, long = (_steps(name, (piece * size)[:size]) for size in (SHORT, LONG))
        assert long <= 1.5 * (LONG // SHORT) * short, f"{name}: {short} and {long} steps for the piece {piece!r}"


def _steps(name: str, text: str) -> int:
    counter = StepCounter(SECRETS[name], text)
    assert counter.spans() == [found.span() for found in SECRETS[name].finditer(text)], repr(text[:80])
    return counter.steps


def test_a_quadratic_search_is_seen() -> None:
    pattern = re.compile("[a-z]+@")
    short, long = (StepCounter(pattern, "a" * size) for size in (SHORT, LONG))
    assert short.spans() == long.spans() == []
    assert long.steps > 2 * (LONG // SHORT) * short.steps


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("x+http://u:pass1@h", "x+http://u:[url_@h"),
        ("a,b@c.de;f@g.hi", "a,[email;[email"),
        ("a@b.c.d@e.fg", "[email]@e.fg"),
        ("x-eyJhbGciOiJ9.eyJzdWIiOiJ9.x", "x-[jwt]xxxxxxxxxxxxxxxxxxxxxx"),
        ("eyJhbGci-eyJhbGciOiJ9.eyJzdWIiOiJ9", "eyJhbGci-[jwt]xxxxxxxxxxxxxxxxxxxx"),
    ],
)
def test_a_secret_is_found_next_to_others(text: str, clean: str) -> None:
    assert replace_secrets(text) == clean


def story_with(text: str) -> Story:
    """A history with the text in every place where people, models and tools write."""
    story = given(CREATE)
    story.do(add(text))
    tool: dict[str, Any] = {**FUNCTION, "function": {**FUNCTION["function"], "description": text}}  # type: ignore[dict-item]
    story.do(run(claim=claim(), instructions=text, metadata={"note": text}, tools=[tool]), after=1)
    call = {"id": "call_1", "name": "weather", "arguments": text}
    reply = PartialReply(text=text, refusal=text, tool_calls=[call])
    story.do(FinishModelCall("run_1", 1, reply, "tool_calls", "m-1", e.Usage()), after=2)
    outputs = submit("call_1", claim=claim(first="2"))
    outputs.outputs[0].__dict__["output"] = text
    story.do(outputs, after=3)
    return story


@pytest.mark.parametrize("has_texts", [True, False])
@pytest.mark.parametrize("name", SECRETS)
def test_a_planted_secret_does_not_survive(name: str, has_texts: bool) -> None:
    secret, around = PLANTED[name]
    logged = [LoggedEvent(recorded, "0.1.0") for recorded in story_with(around.format(secret)).log]
    recording = b"".join(record_lines(logged, has_texts=has_texts)).decode()
    assert secret not in recording
    assert check(recording.encode()) == []


def test_texts_are_left_out() -> None:
    logged = [LoggedEvent(recorded, "0.1.0") for recorded in story_with("Grüße an Zoë, 42 🎉").log]
    recording = b"".join(record_lines(logged, has_texts=False))
    for word in ("Grü", "Zoë"):
        assert word not in recording.decode()
    assert blank_text("Grüße an Zoë, 42 🎉") == "xxxxx xx xxx, 00 🎉"
    assert recording.decode().count("xxxxx xx xxx, 00 🎉") >= 7
    assert check(recording) == []


@pytest.mark.parametrize("seed", range(20))
def test_random_histories_are_recorded(seed: int) -> None:
    world = World(Random(seed))
    for _ in range(60):
        try:
            world.do(world.next_command())
        except DomainError:
            continue
    for has_texts in (True, False):
        logged = [LoggedEvent(recorded, "0.1.0") for recorded in world.log]
        assert [one for one in check(b"".join(record_lines(logged, has_texts=has_texts))) if one.part != "plan"] == []


def test_what_says_who_asked_is_left_out() -> None:
    [logged, *_] = [LoggedEvent(recorded, "0.1.0") for recorded in given(CREATE).log]
    from dataclasses import replace

    from events.actors import CommandLineActor, KeyActor

    person = replace(logged.recorded, actor=CommandLineActor("ann@laptop"), cause="thread_0", client=b"c" * 32)
    assert redact(LoggedEvent(person, "0.1.0")).recorded == replace(
        logged.recorded, actor=CommandLineActor(), cause=None, client=None
    )
    key = replace(logged.recorded, actor=KeyActor("key_1"))
    assert redact(LoggedEvent(key, "0.1.0")).recorded.actor == KeyActor("key_1")


def check(recording: bytes) -> list[Any]:
    events = [parse_line(line) for line in recording.splitlines()]
    assert not any(isinstance(event, NotReadable) for event in events)
    assert any(event.state_hash is not None for event in events)
    checked = ThreadReplayCheck(events[0].recorded.stream_id, lambda _: "again")
    return [found for group in groups_of(events) for found in checked.add(group)]


def test_no_name_that_a_client_chose_makes_a_text_a_word() -> None:
    """Metadata and schemas have the names of words, such as `name` and `status`."""
    secret = "Zoë is divorced"
    properties = {name: {"type": "string", "description": secret, "enum": [secret]} for name in ("name", "status")}
    schema = {"type": "object", "properties": properties, "required": ["name", secret]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    story = given(CREATE)
    story.do(add("Hi"))
    metadata = {"name": secret, "status": secret, "reason": secret, "type": secret}
    response_format = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    story.do(run(claim=claim(), metadata=metadata, tools=[tool], response_format=response_format), after=1)
    logged = [LoggedEvent(recorded, "0.1.0") for recorded in story.log]
    recording = b"".join(record_lines(logged, has_texts=False))
    assert "Zoë" not in recording.decode()
    assert '"required":["name",' in recording.decode()
    assert recording.decode().count('"type":"object"') == 2
    assert check(recording) == []
