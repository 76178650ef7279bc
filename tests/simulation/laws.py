"""The laws of the server, which hold at the end of every simulation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from events.envelope import RecordedEvent
from events.event_log import load_event
from events.ids import hex_id_of
from events.streams import STREAM_TYPES, StreamType
from events.thread import events as e
from events.vector_store import events as v
from events.webhook_endpoint import WEBHOOK_EVENTS
from projections.row_fold import RowFold
from tests.events.thread.log_rules import RunQueue, find_problems
from tests.simulation.store import Stream
from tests.simulation.world import History

# Seconds of the lifetime of a run that no sum of faults exhausts.
LONG = 60
Law = Callable[[History, "Logs"], Iterator[str]]
Log = Sequence[RecordedEvent[Any]]


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that a history breaks, and how."""

    law: str
    text: str


class Logs:
    """The events of all streams, by the id of the stream."""

    def __init__(self, history: History) -> None:
        self.all: dict[str, list[RecordedEvent[Any]]] = {
            id: [load_event(row) for row in stream.events] for id, stream in history.store.streams.items()
        }
        self.threads = {id: log for id, log in self.all.items() if id.startswith("thread_")}
        self.stores = {id: log for id, log in self.all.items() if id.startswith("vs_")}


def find_violations(history: History) -> list[Violation]:
    """Returns all violations of the laws in a history."""
    logs = Logs(history)
    return [Violation(name, text) for name, law in LAWS.items() for text in law(history, logs)]


def legal_events(history: History, logs: Logs) -> Iterator[str]:
    """The events of a thread are legal by the table of statuses, and nothing is created or ended twice."""
    for thread_id, log in logs.threads.items():
        kept = [entry for entry in log if not isinstance(entry.event, e.ThreadDeleted)]
        yield from (f"{thread_id}: {problem}" for problem in find_problems(kept) if "was active" not in problem)


def one_active_run(history: History, logs: Logs) -> Iterator[str]:
    """A thread has one active run at most, and one process holds it: each claim has a new epoch."""
    for thread_id, log in logs.threads.items():
        queue, epochs = RunQueue(), dict[str, int]()
        for entry in log:
            yield from (f"{thread_id} {text}" for text in queue.problems(entry.event) if "was active" in text)
            if isinstance(entry.event, e.RunClaimed):
                if entry.event.epoch <= epochs.get(entry.event.run_id, 0):
                    yield f"{thread_id} {entry.version}: {entry.event.run_id} was claimed twice under one epoch"
                epochs[entry.event.run_id] = entry.event.epoch


def calls_made_once(history: History, logs: Logs) -> Iterator[str]:
    """Each attempt at a call was journaled and is made once, and a finished call is never begun again."""
    started: set[tuple[str, int, int]] = set()
    tools: set[tuple[str, int]] = set()
    for thread_id, log in logs.threads.items():
        finished: set[tuple[str, int]] = set()
        for entry in log:
            match entry.event:
                case e.ModelCallStarted(run_id=run_id, call=call, attempt=attempt):
                    started.add((run_id, call, attempt))
                    if (run_id, call) in finished:
                        yield f"{thread_id} {entry.version}: call {call} of {run_id} begins again"
                case e.ModelCallFinished(run_id=run_id, call=call):
                    finished.add((run_id, call))
                case e.ToolCallStarted(call_id=call_id, attempt=attempt):
                    tools.add((call_id, attempt))
                case _:
                    pass
    for key, times in history.outside.model_calls.items():
        if times > 1 or key not in started:
            yield f"the attempt {key} at a model call was made {times} times, journaled: {key in started}"
    for call_key, times in history.outside.tool_calls.items():
        if times > 1 or call_key not in tools:
            yield f"the attempt {call_key} at a hosted call was made {times} times, journaled: {call_key in tools}"


def runs_end(history: History, logs: Logs) -> Iterator[str]:
    """Every run ends, and none is left until it expires unless its lifetime is short."""
    if history.stuck is not None:
        yield f"the world did not come to its end: {history.stuck}"
    lifetimes = {
        answer["id"]: request.command.lifetime
        for request in history.requests
        if request.name == "run"
        for answer in request.answers
    }
    has_jumped = any(fault.kind == "clock" for fault in history.scenario.faults)
    for log in logs.threads.values():
        for entry in log:
            if (
                isinstance(entry.event, e.RunExpired)
                and lifetimes.get(entry.event.run_id, 0) >= LONG
                and not has_jumped
            ):
                yield f"{entry.event.run_id} was left until it expired"
    for row in history.store.rows("active_runs"):
        yield f"{row['run_id']} of {row['thread_id']} is {row['status']} after {history.seconds:.0f} s"


def messages_once(history: History, logs: Logs) -> Iterator[str]:
    """No message is lost, doubled or reordered, and an answer is what the model said in the attempt that counts."""
    texts = Counter[str]()
    for thread_id, log in logs.threads.items():
        attempt: tuple[str, int, int] | None = None
        for entry in log:
            match entry.event:
                case e.MessageAdded(content=content):
                    texts[f"{thread_id} {content[0]['text']['value']}"] += 1
                case e.ModelCallStarted(run_id=run_id, call=call, attempt=number):
                    attempt = (run_id, call, number)
                case e.MessageWritten(content=content, status="completed"):
                    said = history.outside.texts.get(attempt) if attempt is not None else None
                    written = "".join(part["text"]["value"] for part in content if part["type"] == "text")
                    if said is None or written != said:
                        yield f"{thread_id} {entry.version}: the model said {said!r}, and {written!r} was written"
                case _:
                    pass
    yield from (f"{text!r} was added {times} times" for text, times in texts.items() if times > 1)
    last: dict[tuple[int, str], int] = {}
    for request in history.requests:
        if request.text is None or not request.answers:
            continue
        answer = request.answers[0]
        if texts[f"{answer['stream']} {request.text}"] != 1:
            yield f"{request.text!r} was acknowledged, and is in the log {texts[request.text]} times"
        key = (request.command.client, answer["stream"])
        if answer["versions"][0] <= last.get(key, 0):
            yield f"{request.text!r} came before an earlier message of its client"
        last[key] = answer["versions"][0]


def views_equal_fold(history: History, logs: Logs) -> Iterator[str]:
    """The rows of the views and the state of the head are the fold of the events."""
    for stream_id, log in logs.all.items():
        stream = history.store.streams[stream_id]
        stream_type = _type_of(stream)
        try:
            fold = RowFold(stream_type, stream_id, stream.head["version"])
            for entry in log:
                fold.add(entry)
            rows = fold.finish()
        except Exception as error:  # noqa: BLE001 - a log that cannot be folded
            yield f"{stream_id}: {error}"
            continue
        for table, found in rows.tables._tables.items():
            if found != stream.rows.tables[table]:
                yield f"{stream_id}: {table} has {stream.rows.tables[table]}, and its events lead to {found}"
        if stream_type.adapter.validate_json(stream.head["state"]) != fold.state:
            yield f"{stream_id}: the state of the head is not that of the events"


def _type_of(stream: Stream) -> StreamType[Any, Any]:
    return STREAM_TYPES[stream.head["kind"]]


def streams_show_all(history: History, logs: Logs) -> Iterator[str]:
    """A stream shows every event of its thread once and in order."""
    for thread_id, readers in history.streams.items():
        last = history.store.streams[thread_id].head["version"]
        for seen in readers:
            if seen != list(range(1, last + 1)):
                yield f"the stream of {thread_id}, with {last} events, showed {seen}"


def acknowledged_kept(history: History, logs: Logs) -> Iterator[str]:
    """Each event of an acknowledged request is in the log."""
    for request in history.requests:
        for answer in request.answers:
            log = logs.all.get(answer["stream"], []) if answer["versions"] else []
            for version, kind in zip(answer["versions"], answer["types"], strict=True):
                if len(log) < version or log[version - 1].event.type != kind:
                    yield f"{request.name} {request.command.number} was acknowledged, but {kind} {version} is lost"


def requests_answered(history: History, logs: Logs) -> Iterator[str]:
    """Every request is answered or refused, if its client tries it for long enough."""
    for request in history.requests:
        if not request.answers and request.refusal is None:
            yield f"{request.name} {request.command.number} was never answered"


def repeats_are_equal(history: History, logs: Logs) -> Iterator[str]:
    """All tries of a request get the same answer, which names all of its events, and have one effect."""
    for request in history.requests:
        for answer in request.answers[1:]:
            if answer != request.answers[0]:
                yield f"{request.name} {request.command.number} was answered with {request.answers}"
        if request.answers and request.answers[0]["stream"] in logs.threads:
            answer = request.answers[0]
            own = [entry.version for entry in logs.all[answer["stream"]] if entry.request_id == request.id]
            if not set(own) <= set(answer["versions"]):
                yield f"{request.name} {request.command.number} appended {own}, and was answered with {answer}"
    for log in logs.all.values():
        first: dict[str, int] = {}
        for entry in log:
            if entry.request_id is not None and entry.version - first.setdefault(entry.request_id, entry.version) > 0:
                between = log[first[entry.request_id] - 1 : entry.version]
                if any(other.request_id != entry.request_id for other in between):
                    yield f"{entry.stream_id}: {entry.request_id} had an effect twice"


def log_is_gapless(history: History, logs: Logs) -> Iterator[str]:
    """The log has each event once, under indexes without gaps, in the order of its stream."""
    yield from (f"{key[1]} {key[2]} still waits to be sealed" for key in history.store.pending)
    end = 0
    versions = Counter[str]()
    for row in sorted(history.store.ranges, key=lambda row: row["first_index"]):
        if row["first_index"] != end:
            yield f"the log goes on at {row['first_index']} after {end}"
        end = row["first_index"] + row["count"]
        stream_id = row["stream_id"]
        if row["first_version"] != versions[stream_id] + 1:
            yield f"{stream_id} {row['first_version']} follows {versions[stream_id]} in the log"
        versions[stream_id] = row["first_version"] + row["count"] - 1
        leaves = b"".join(
            each["leaf"]
            for each in history.store.streams[stream_id].events[row["first_version"] - 1 : versions[stream_id]]
        )
        if leaves != row["leaves"]:
            yield f"{stream_id} {row['first_version']} has other leaves in the log"
    for stream_id, stream in history.store.streams.items():
        if versions[stream_id] != len(stream.events):
            yield f"{stream_id} has {len(stream.events)} events, and {versions[stream_id]} of them are in the log"


def webhooks_delivered(history: History, logs: Logs) -> Iterator[str]:
    """Each event that an endpoint asked for is delivered at least once, and nothing else is."""
    if not history.scenario.has_webhooks:
        return
    expected = {
        hex_id_of("evt", f"{entry.stream_id}:{entry.version}"): f"{entry.event.type} {entry.stream_id}:{entry.version}"
        for log in logs.threads.values()
        for entry in log
        if entry.event.type in WEBHOOK_EVENTS
        and not any(isinstance(later.event, e.ThreadDeleted) for later in log[entry.version :])
    }
    delivered = set(history.outside.deliveries)
    yield from (f"{text} was not delivered" for id, text in expected.items() if id not in delivered)


def files_indexed(history: History, logs: Logs) -> Iterator[str]:
    """The indexing of every file ends, by the job that wrote its chunks, and is not begun again."""
    for row in history.store.rows("vector_store_files"):
        if row["status"] == "in_progress":
            yield f"{row['file_id']} is in progress after {history.seconds:.0f} s"
    for store_id, log in logs.stores.items():
        finished: set[str] = set()
        for entry in log:
            match entry.event:
                case v.IndexingFinished(file_id=file_id, job=job):
                    finished.add(file_id)
                    if not history.outside.indexed[store_id, file_id, job]:
                        yield f"{store_id}: job {job} of {file_id} finished and was not made"
                case v.IndexingStarted(file_id=file_id) if file_id in finished:
                    yield f"{store_id}: {file_id} is indexed again"
                case _:
                    pass
    for key, times in history.outside.indexed.items():
        if times > 1:
            yield f"the job {key} was made {times} times"


def no_unexpected_errors(history: History, logs: Logs) -> Iterator[str]:
    """The server logs no error with a traceback: those are errors that it does not know."""
    yield from history.errors


LAWS: dict[str, Law] = {
    "legal events": legal_events,
    "one active run": one_active_run,
    "calls made once": calls_made_once,
    "runs end": runs_end,
    "messages once": messages_once,
    "views equal their fold": views_equal_fold,
    "streams show all": streams_show_all,
    "acknowledged is kept": acknowledged_kept,
    "requests are answered": requests_answered,
    "repeats are equal": repeats_are_equal,
    "the log is gapless": log_is_gapless,
    "webhooks are delivered": webhooks_delivered,
    "files are indexed": files_indexed,
    "no unexpected errors": no_unexpected_errors,
}
