"""The stream of the installation: what people and processes did to it, beyond the changes of objects.

There is one such stream, INSTALLATION_ID. It begins at the first start of a server on the database. Its project is no
project that a key of the API can belong to, except keys for the audit of the whole installation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from pydantic import Field

from events.envelope import Event, RecordedEvent
from events.key_epochs import KeyEpochBegun, KeyEpochDestroyed, KeyEpochEvent
from events.retention import HoldEnded, HoldPlaced, RetentionEvent, RetentionSet

STATE_SCHEMA = 1

INSTALLATION_ID = "installation"
INSTALLATION_PROJECT = "installation"

Credential = Literal["key", "token"]
TokenPurpose = Literal["stream", "file"]
ExportFormat = Literal["jsonl", "ocsf", "everthread-export/1"]


def _is_none(value: object) -> bool:
    return value is None


class InstallationCreated(Event):
    """`name` is the random name of this installation in the origins of the log."""

    type: Literal["installation.created"] = "installation.created"
    name: str


class EpochBegun(Event):
    """Begins an epoch of the log. `number` counts from 1.

    After a restore, `previous_origin` and `previous_checkpoint` name the log before it, and `reason` is the operator's.
    All three are null for the first epoch. `kept_origin` is the newest epoch that the restored database has,
    `kept_size` the number of its events there, and `kept_root` the root over these in base64; older software recorded
    none of them.
    """

    type: Literal["epoch.begun"] = "epoch.begun"
    number: int
    previous_origin: str | None = None
    previous_checkpoint: str | None = None
    reason: str | None = None
    kept_origin: str | None = Field(None, exclude_if=_is_none)
    kept_size: int | None = Field(None, exclude_if=_is_none)
    kept_root: str | None = Field(None, exclude_if=_is_none)


class LogKeyUsed(Event):
    """From here on, checkpoints are signed with the key that `verifier_key` belongs to (C2SP signed-note)."""

    type: Literal["log_key.used"] = "log_key.used"
    verifier_key: str


class ServerStarted(Event):
    """A process started to serve. `settings` holds the settings that differ from the defaults, as texts; a secret is
    "set". The process is the event's actor.
    """

    type: Literal["server.started"] = "server.started"
    settings: dict[str, str]


class TokenCreated(Event):
    """A key of `project_id` made a token or a link that opens an object without a key until `expires_at` (in Unix
    seconds). The key is the event's actor.
    """

    type: Literal["token.created"] = "token.created"
    project_id: str
    purpose: TokenPurpose
    object_id: str
    expires_at: int


class AuditRead(Event):
    """A key with a scope of audits read `path`, `count` times since the minute began. The key is the event's actor.

    The first read of a path in a minute is an event at once, with the count 1; further ones are counted in another. The
    path of a read of the past has the query `at`. If the actor is a person at the command line, `path` is the command
    that read what was deleted from a thread.
    """

    type: Literal["audit.read"] = "audit.read"
    project_id: str
    path: str
    count: int


class SignInsFailed(Event):
    """Requests with a wrong key or token, counted over a minute: those of one address, whose first request was
    `request_id`, or those of all addresses beyond a bound, if `request_id` is null. `client` is the commitment to the
    client of that request in hexadecimal, null if clients are not recorded.
    """

    type: Literal["sign_ins.failed"] = "sign_ins.failed"
    credential: Credential
    count: int
    request_id: str | None
    client: str | None = None


class ExportStarted(Event):
    """A person at the command line exports the events of the log from the index `first_index` on, those that `filters`
    let through. The person is the event's actor. `filters` holds the options by name, as texts. `is_following` if the
    export goes on behind the newest event until it is ended.
    """

    type: Literal["export.started"] = "export.started"
    export_id: str
    format: ExportFormat
    filters: dict[str, str]
    first_index: int
    has_contents: bool
    is_following: bool


class ExportEnded(Event):
    """The export has written `count` events, the last of which has the index `last_index`; null if there were none.

    An export without this event was killed, or lost the database.
    """

    type: Literal["export.ended"] = "export.ended"
    export_id: str
    count: int
    last_index: int | None


class ErasedStream(Event):
    """A stream whose object was deleted, in version `version`, and the id of its data key, which is destroyed next.

    `forks` are the threads that begin with its history.
    """

    stream_id: str
    project_id: str
    version: int
    key_id: str
    forks: list[str] = Field(default_factory=list, exclude_if=lambda forks: not forks)


class StreamsErased(Event):
    """The contents of the streams cannot be read any more. A process that dies between this event and the destruction
    of a key is followed by another one, which appends the event again.
    """

    type: Literal["streams.erased"] = "streams.erased"
    streams: list[ErasedStream]


class ImportStarted(Event):
    """A person at the command line imports an export. `manifest` is the SHA-256 of its manifest in hexadecimal digits.

    `origin` and `checkpoint` are those of the newest epoch of the log that the export was made from; the checkpoint is
    a signed note, null if the export has none. `streams` and `events` are the numbers of those that are to be added.
    """

    type: Literal["import.started"] = "import.started"
    import_id: str
    origin: str
    checkpoint: str | None
    manifest: str
    streams: int
    events: int


class ImportedStream(Event):
    """The events of a stream behind the version `after` up to `version`, whose leaf is `leaf` in hexadecimal digits."""

    stream_id: str
    project_id: str
    after: int
    version: int
    leaf: str


class StreamsImported(Event):
    """The events that these streams get next come from the log that the start of the import names, not from here.

    A process that dies before it adds them is followed by another import, which appends this event again.
    """

    type: Literal["streams.imported"] = "streams.imported"
    import_id: str
    streams: list[ImportedStream]


class ImportEnded(Event):
    """The import has added all events: `streams` and `events` are their numbers. One without this was broken off."""

    type: Literal["import.ended"] = "import.ended"
    import_id: str
    streams: int
    events: int


Act = (
    TokenCreated
    | AuditRead
    | SignInsFailed
    | ExportStarted
    | ExportEnded
    | StreamsErased
    | RetentionEvent
    | KeyEpochEvent
    | ImportStarted
    | StreamsImported
    | ImportEnded
)
InstallationEvent = InstallationCreated | EpochBegun | LogKeyUsed | ServerStarted | Act


@dataclass(frozen=True, slots=True)
class InstallationState:
    """`name` is null before the first start; `epoch` is then 0."""

    id: str
    name: str | None = None
    epoch: int = 0
    verifier_key: str | None = None


@dataclass(frozen=True, slots=True)
class CreateInstallation:
    """Creates the installation and begins its first epoch; changes nothing if it exists."""

    name: str


@dataclass(frozen=True, slots=True)
class KeptLog:
    """The part of the newest epoch's log that a restored database has. `root` is in base64."""

    origin: str
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class BeginEpoch:
    """Begins the epoch `number`, after a restore. It is above that of `previous_origin`."""

    number: int
    previous_origin: str
    previous_checkpoint: str
    reason: str
    kept: KeptLog | None = None


@dataclass(frozen=True, slots=True)
class UseLogKey:
    """Changes nothing if the key is the one in use."""

    verifier_key: str


@dataclass(frozen=True, slots=True)
class RecordStart:
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class RecordActs:
    acts: tuple[Act, ...]


InstallationCommand = CreateInstallation | BeginEpoch | UseLogKey | RecordStart | RecordActs


def decide(state: InstallationState, command: InstallationCommand, at: datetime) -> list[InstallationEvent]:
    """Returns the events of a command."""
    match command:
        case CreateInstallation(name=name):
            return [] if state.name is not None else [InstallationCreated(name=name), EpochBegun(number=1)]
        case BeginEpoch(kept=kept):
            return [
                EpochBegun(
                    number=command.number,
                    previous_origin=command.previous_origin,
                    previous_checkpoint=command.previous_checkpoint,
                    reason=command.reason,
                    kept_origin=None if kept is None else kept.origin,
                    kept_size=None if kept is None else kept.size,
                    kept_root=None if kept is None else kept.root,
                )
            ]
        case UseLogKey(verifier_key=key):
            return [] if state.verifier_key == key else [LogKeyUsed(verifier_key=key)]
        case RecordStart(settings=settings):
            return [ServerStarted(settings=settings)]
        case RecordActs(acts=acts):
            return [*acts]
        case _:
            assert_never(command)


def evolve(state: InstallationState, recorded: RecordedEvent[InstallationEvent]) -> InstallationState:
    match recorded.event:
        case InstallationCreated(name=name):
            return replace(state, name=name)
        case EpochBegun(number=number):
            return replace(state, epoch=number)
        case LogKeyUsed(verifier_key=key):
            return replace(state, verifier_key=key)
        case ServerStarted() | TokenCreated() | AuditRead() | SignInsFailed() | ExportStarted() | ExportEnded():
            return state
        case StreamsErased() | ImportStarted() | StreamsImported() | ImportEnded():
            return state
        case RetentionSet() | HoldPlaced() | HoldEnded() | KeyEpochBegun() | KeyEpochDestroyed():
            return state
        case _:
            assert_never(recorded.event)
