"""Every event is valid API Activity by the published schema of OCSF, with every actor and every client."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from events.clients import ClientFacts, commit_client, seal_client
from events.codec import AnyEvent
from events.leaves import commit
from service.audit.audit_feed import AuditEvent
from service.wire.ocsf import OCSF_VERSION, Activity, activity_of, render_ocsf

GOLDEN = Path(__file__).parents[1] / "events" / "golden" / "v1.jsonl"
AT = datetime(2026, 11, 28, 12, 0, 0, 123456, UTC)
SALT = bytes(range(32))
FULL = ClientFacts("2001:db8::7%eth0", "192.0.2.1, unknown, 2001:db8::1", "curl/8", "user-7")
ACTORS = ["key:key_1", "token:key_1", "process:7", "process:sweep", "tool:code_interpreter", "run", "cli", "cli:a@b"]


@cache
def validator() -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(OCSF_VERSION)).get_class_schema("api_activity", profiles=[])
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def faults(rendered: dict[str, Any]) -> list[str]:
    """Returns the faults of an event as it is exported: after its way through JSON."""
    return [error.message for error in validator().iter_errors(orjson.loads(orjson.dumps(rendered)))]


def event(
    type: str = "thread.created",
    *,
    actor: str = "key:key_1",
    facts: ClientFacts | None = None,
    is_forgotten: bool = False,
    content: bytes | None = None,
    request_id: str | None = "req_1",
) -> AuditEvent:
    client = None if facts is None else seal_client(facts, SALT)
    return AuditEvent(
        log_index=41,
        stream_id="thread_1",
        version=3,
        type=type,
        at=AT,
        project_id="proj_1",
        actor=actor,
        request_id=request_id,
        cause=None,
        client=None if client is None else commit_client(client),
        algorithm=2,
        schema_version=1,
        software_version="0.2.0",
        commitment=commit(content or SALT),
        leaf=bytes(32),
        content_size=0,
        client_content=None if is_forgotten else client,
        content=content,
    )


@pytest.mark.parametrize("line", GOLDEN.read_bytes().splitlines(), ids=lambda line: orjson.loads(line)["type"])
def test_every_event_is_valid(line: bytes) -> None:
    rendered = render_ocsf(event(orjson.loads(line)["type"], content=SALT + line))
    assert faults(rendered) == []
    assert rendered["raw_data"].encode() == line
    assert rendered["resources"][0]["type"] != "unknown"
    assert "raw_data" not in render_ocsf(event(orjson.loads(line)["type"]))


@pytest.mark.parametrize("actor", [*ACTORS, "cli:nobody", "newer:thing", "process:x"])
@pytest.mark.parametrize(
    "facts", [None, FULL, ClientFacts(None), ClientFacts("a socket"), ClientFacts("::ffff:1.2.3.4")]
)
def test_every_actor_and_client_is_valid(actor: str, facts: ClientFacts | None) -> None:
    for is_forgotten in (False, True):
        rendered = render_ocsf(event(actor=actor, facts=facts, is_forgotten=is_forgotten, request_id=None))
        assert faults(rendered) == []
        assert rendered["actor"]["app_uid"] == actor


def test_the_schema_refuses_what_is_not_its_own() -> None:
    rendered = render_ocsf(event())
    assert faults(rendered | {"colour": "blue"}) != []
    assert faults({name: value for name, value in rendered.items() if name != "src_endpoint"}) != []
    assert faults(rendered | {"src_endpoint": {}}) != []
    assert faults(rendered | {"activity_id": 9}) != []


def test_the_attributes() -> None:
    rendered = render_ocsf(event("thread.deleted", facts=FULL))
    assert (rendered["activity_id"], rendered["type_uid"]) == (4, 600304)
    assert timedelta(milliseconds=rendered["time"]) == AT.replace(microsecond=123000) - datetime(1970, 1, 1, tzinfo=UTC)
    metadata = rendered["metadata"]
    assert (metadata["uid"], metadata["sequence"], metadata["tenant_uid"]) == ("thread_1/3", 41, "proj_1")
    assert metadata["original_time"] == "2026-11-28T12:00:00.123456Z"
    assert rendered["api"] == {
        "operation": "thread.deleted",
        "service": {"name": "everthread"},
        "request": {"uid": "req_1"},
    }
    assert rendered["src_endpoint"] == {"ip": "2001:db8::7"}
    assert rendered["http_request"]["x_forwarded_for"] == ["192.0.2.1", "2001:db8::1"]
    assert rendered["unmapped"]["safety_identifier"] == "user-7"
    failed = render_ocsf(event("sign_ins.failed", actor="process:7"))
    assert (failed["status_id"], failed["activity_id"], failed["activity_name"]) == (2, 99, "failed")


def test_a_changed_client_is_not_rendered() -> None:
    given = event(facts=FULL)
    other = event(facts=ClientFacts("192.0.2.9"))
    rendered = render_ocsf(replace(given, client_content=other.client_content))
    assert "ip" not in rendered["src_endpoint"]


def test_the_activity_follows_from_the_type() -> None:
    known = {
        event.model_fields["type"].default: activity_of(event.model_fields["type"].default)
        for event in get_args(AnyEvent)
    }
    assert {type for type, activity in known.items() if activity is Activity.READ} == {
        "audit.read",
        "export.started",
        "export.ended",
    }
    assert {type for type, activity in known.items() if activity is Activity.DELETE} == {
        *(f"{noun}.deleted" for noun in ("assistant", "file", "message", "thread", "vector_store", "webhook_endpoint")),
        "key.revoked",
        "key_epoch.destroyed",
        "streams.erased",
        "vector_store.file_removed",
    }
    assert {type for type, activity in known.items() if activity is Activity.OTHER} == {
        "server.started",
        "session.ended",
        "sign_ins.failed",
    }
    assert known["run.created"] is known["message.added"] is known["token.created"] is Activity.CREATE
    assert known["run.completed"] is Activity.UPDATE
    assert activity_of("thing.of_newer_software") is Activity.OTHER
