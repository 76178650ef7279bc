"""Files of saved objects, in every form, and the threads that they add up to."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from service.imports import saved_files
from service.imports.collection import ImportPlan, collect
from service.imports.saved_files import read_saved

THREAD = {"id": "thread_1", "object": "thread", "created_at": 100, "metadata": {"a": "b"}, "tool_resources": {}}


def message(number: int, role: str = "user", at: int = 101, **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": {"value": f"text {number}", "annotations": []}}]
    return {
        "id": f"msg_{number}",
        "object": "thread.message",
        "created_at": at,
        "thread_id": "thread_1",
        "role": role,
        "content": content,
        "metadata": {},
        **fields,
    }


def run(number: int, at: int = 101, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"run_{number}",
        "object": "thread.run",
        "created_at": at,
        "thread_id": "thread_1",
        "assistant_id": "asst_1",
        "status": "completed",
        "model": "gpt-4",
        "completed_at": at + 1,
        **fields,
    }


def step(number: int, run_id: str, message_id: str, at: int = 101) -> dict[str, Any]:
    details = {"type": "message_creation", "message_creation": {"message_id": message_id}}
    return {
        "id": f"step_{number}",
        "object": "thread.run.step",
        "created_at": at,
        "thread_id": "thread_1",
        "run_id": run_id,
        "assistant_id": "asst_1",
        "type": "message_creation",
        "status": "completed",
        "step_details": details,
        "completed_at": at,
    }


OBJECTS = [
    THREAD,
    message(1),
    run(1),
    step(1, "run_1", "msg_2"),
    message(2, "assistant", run_id="run_1", assistant_id="asst_1"),
    message(3, at=103),
]
ORDER = ["msg_1", "run_1", "step_1", "msg_2", "msg_3"]


def plan_of(path: Path) -> ImportPlan:
    return collect(read_saved(path))


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value if isinstance(value, bytes) else orjson.dumps(value))
    return path


def without(saved: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in saved.items() if name not in names}


def ids(plan: ImportPlan) -> list[str]:
    (thread,) = plan.threads
    assert (thread.thread.id, thread.thread.created_at, thread.thread.metadata) == ("thread_1", 100, {"a": "b"})
    assert plan.skipped == []
    return [one.id for one in thread.objects]


def test_an_export_of_threads(tmp_path: Path) -> None:
    write(tmp_path / "manifest.json", {"format": "assistants-thread-export/v1", "threads": ["thread_1"]})
    write(tmp_path / "assistants.json", [{"id": "asst_1", "object": "assistant", "created_at": 1, "model": "gpt-4"}])
    nested = {
        "thread": THREAD,
        "messages": [without(each, "object") for each in (message(1), OBJECTS[4], message(3, at=103))],
        "runs": [{**without(run(1), "object"), "steps": [without(OBJECTS[3], "object", "thread_id", "run_id")]}],
    }
    write(tmp_path / "threads" / "thread_1.json", nested)
    plan = plan_of(tmp_path)
    assert ids(plan) == ORDER
    assert [one.id for one in plan.assistants] == ["asst_1"]
    assert plan.notes == []


@pytest.mark.parametrize("ending", ["json", "jsonl", "ndjson", "JSON"])
def test_objects_one_a_line(tmp_path: Path, ending: str) -> None:
    lines = b"\r\n".join(orjson.dumps(each) for each in OBJECTS)
    assert ids(plan_of(write(tmp_path / f"a.{ending}", b"\xef\xbb\xbf" + lines + b"\n\n"))) == ORDER


def test_lists_as_the_api_returned_them(tmp_path: Path) -> None:
    """Lists have the newest object first, also if the objects are of the same second."""
    write(tmp_path / "thread.json", THREAD)
    messages = [message(3), message(2), message(1)]
    write(tmp_path / "messages.json", {"object": "list", "data": messages, "has_more": False})
    assert ids(plan_of(tmp_path)) == ["msg_1", "msg_2", "msg_3"]


@pytest.mark.parametrize("seed", range(20))
def test_any_order_and_division_gives_the_same_thread(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    saved = [*OBJECTS, *random.choices(OBJECTS, k=3)]
    random.shuffle(saved)
    cut = random.randrange(len(saved))
    write(tmp_path / "a.json", saved[:cut])
    write(tmp_path / "b" / "c.jsonl", b"\n".join(orjson.dumps(each) for each in saved[cut:]))
    plan = plan_of(tmp_path)
    assert ids(plan) == ORDER
    assert plan.notes == []


def test_a_table_of_messages(tmp_path: Path) -> None:
    table = 'thread_id,role,content,created_at,note\nthread_1,user,"Hi, ""you""",101,x\nthread_1,assistant,Hello,102,\n'
    path = write(tmp_path / "messages.csv", table.encode())
    plan, again = plan_of(path), plan_of(path)
    (thread,) = plan.threads
    assert [one.content[0]["text"]["value"] for one in thread.objects] == ['Hi, "you"', "Hello"]  # type: ignore[union-attr]
    assert thread.thread.created_at == 101
    assert again.threads == plan.threads
    (note,) = plan.notes
    assert note.reason == "it was not saved itself: it begins with its first object"
    missing = plan_of(write(tmp_path / "other.csv", b"thread_id,text\n"))
    assert [one.reason for one in missing.skipped] == ["its header has no role, content, created_at"]


def test_objects_that_differ(tmp_path: Path) -> None:
    """A run that was saved while it worked, and again when it had ended."""
    going = run(1, status="in_progress", completed_at=None)
    for saved in ([going, run(1)], [run(1), going]):
        plan = plan_of(write(tmp_path / "a.json", [THREAD, *saved]))
        ((found,),) = [thread.objects for thread in plan.threads]
        assert found.status == "completed"
        assert len(plan.notes) == 1
    changed = plan_of(write(tmp_path / "a.json", [THREAD, message(1), message(1, metadata={"x": "y"})]))
    ((last,),) = [thread.objects for thread in changed.threads]
    assert last.metadata == {"x": "y"}  # type: ignore[union-attr]


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    write(
        tmp_path / "a.json", [THREAD, {"id": "x"}, 7, message(1, content=[{"type": "video"}]), message(2, role="tool")]
    )
    write(tmp_path / "b.json", b'{"object": "thread"')
    write(tmp_path / "c.jsonl", b'{"object": "thread.message", "id": "msg_9"}\nnonsense\n')
    write(tmp_path / "d.json", step(1, "run_7", "msg_1"))
    write(tmp_path / "e.txt", b"is not read")
    plan = plan_of(tmp_path)
    places = [(one.place, one.reason.partition(":")[0]) for one in plan.skipped]
    assert places == [
        ("a.json[1]", "it is no object of the API"),
        ("a.json[2]", "it is no object of the API"),
        ("a.json[4]", "message msg_2"),
        ("b.json", "it is not JSON"),
        ("c.jsonl: line 1", "message msg_9"),
        ("c.jsonl: line 2", "it is not JSON"),
        ("a.json[3]", "msg_1"),
        ("d.json", "step step_1"),
    ]
    assert [thread.objects for thread in plan.threads] == [[]]


def test_objects_within_objects(tmp_path: Path) -> None:
    """A thread that holds its messages and runs, and lists of the API within an export."""
    messages = [without(each, "thread_id", "object") for each in (message(1), OBJECTS[4], message(3, at=103))]
    runs = [{**without(run(1), "object", "thread_id"), "steps": {"object": "list", "data": [OBJECTS[3]]}}]
    assert ids(plan_of(write(tmp_path / "a.json", {**THREAD, "messages": messages, "runs": runs}))) == ORDER
    page = {"object": "list", "data": messages[::-1], "has_more": False}
    document = {"format": "assistants-thread-export/v1", "thread": THREAD, "messages": page, "runs": runs}
    assert ids(plan_of(write(tmp_path / "a.json", document))) == ORDER


def test_a_long_row_of_a_table(tmp_path: Path) -> None:
    table = f"thread_id,role,content,created_at\nthread_1,user,{'a' * 200_000},1\nthread_1,user,b,2\n"
    (thread,) = plan_of(write(tmp_path / "a.csv", table.encode())).threads
    assert len(thread.objects) == 2


@pytest.mark.parametrize(
    "saved",
    [
        run(1, usage={"prompt_tokens": [1], "prompt_token_details": "x", "completion_tokens": -1}),
        {**step(1, "run_1", "m"), "step_details": {"type": "tool_calls", "tool_calls": 5}},
        {**step(1, "run_1", "m"), "step_details": {"type": "message_creation", "message_creation": "x"}},
        {
            **step(1, "run_1", "m"),
            "step_details": {
                "type": "tool_calls",
                "tool_calls": [{"id": "c", "type": "code_interpreter", "code_interpreter": {"outputs": 5}}],
            },
        },
    ],
)
def test_fields_of_another_type_are_left_out(tmp_path: Path, saved: dict[str, Any]) -> None:
    plan = plan_of(write(tmp_path / "a.json", [THREAD, run(1), saved]))
    assert plan.skipped == []
    assert len(plan.threads) == 1


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_files, "MAX_DOCUMENT", 100)
    monkeypatch.setattr(saved_files, "MAX_LINE", 100)
    for name in ("a.json", "a.jsonl"):
        (skipped,) = plan_of(write(tmp_path / name, message(1))).skipped
        assert "more than 100 bytes" in skipped.reason
