"""Finds the commands of streams other than threads from their events. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never

from events import api_key as k
from events import assistant as a
from events import file as f
from events import installation as i
from events import project as p
from events import session as s
from events import upload as u
from events import webhook_endpoint as w
from events.envelope import RecordedEvent
from events.key_epochs import KeyEpochBegun, KeyEpochDestroyed
from events.retention import HoldEnded, HoldPlaced, RetentionSet
from events.streams import (
    ASSISTANT,
    FILE,
    INSTALLATION,
    KEY,
    PROJECT,
    SESSION,
    UPLOAD,
    VECTOR_STORE,
    WEBHOOK_ENDPOINT,
    StreamType,
)
from service.replay.check_stores import StoreInversion
from service.replay.check_stream import Inversion


class AssistantInversion:
    """Finds the commands of an assistant."""

    def add(self, recorded: RecordedEvent[a.AssistantEvent]) -> None:
        """Commands of assistants need no facts."""

    def commands(
        self, state: a.AssistantState, events: Sequence[a.AssistantEvent], at: datetime
    ) -> list[a.AssistantCommand]:
        """Returns the command of an append: see `Inversion`."""
        match event := events[0]:
            case a.AssistantCreated(settings=settings, provenance=provenance):
                return [a.CreateAssistant(settings, provenance)]
            case a.AssistantModified(changes=changes, restored_from=restored_from):
                return [a.ModifyAssistant(changes, restored_from)]
            case a.AssistantDeleted():
                return [a.DeleteAssistant()]
            case _:
                assert_never(event)


class FileInversion:
    """Finds the commands of a file."""

    def add(self, recorded: RecordedEvent[f.FileEvent]) -> None:
        """Commands of files need no facts."""

    def commands(self, state: f.FileState, events: Sequence[f.FileEvent], at: datetime) -> list[f.FileCommand]:
        """Returns the command of an append: see `Inversion`."""
        match event := events[0]:
            case f.FileCreated() as created:
                expires_at = created.expires_at
                return [
                    f.CreateFile(
                        filename=created.filename,
                        purpose=created.purpose,
                        bytes=created.bytes,
                        sha256=created.sha256,
                        content_type=created.content_type,
                        expires_after=None if expires_at is None else expires_at - int(at.timestamp()),
                        blob=created.blob,
                        segments=created.segments,
                        provenance=created.provenance,
                    )
                ]
            case f.FileDeleted():
                return [f.DeleteFile()]
            case f.FileExpired():
                return [f.ExpireFile()]
            case _:
                assert_never(event)


class UploadInversion:
    """Finds the commands of an upload. It keeps the sizes of the parts."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def add(self, recorded: RecordedEvent[u.UploadEvent]) -> None:
        """Applies an event to the facts."""
        event = recorded.event
        if isinstance(event, u.UploadPartAdded):
            self._sizes[event.part_id] = event.bytes

    def commands(self, state: u.UploadState, events: Sequence[u.UploadEvent], at: datetime) -> list[u.UploadCommand]:
        """Returns the command of an append: see `Inversion`."""
        match event := events[0]:
            case u.UploadCreated() as created:
                return [
                    u.CreateUpload(
                        filename=created.filename,
                        purpose=created.purpose,
                        bytes=created.bytes,
                        content_type=created.content_type,
                        expires_after=created.expires_after,
                    )
                ]
            case u.UploadPartAdded(part_id=part_id, bytes=size, sha256=sha256, segments=segments):
                return [u.AddPart(part_id, size, sha256, segments)]
            case u.UploadCompleted(part_ids=part_ids, file_id=file_id, md5=md5):
                return [u.CompleteUpload(part_ids, [self._sizes.get(id) for id in part_ids], file_id, md5)]
            case u.UploadCancelled():
                return [u.CancelUpload()]
            case u.UploadExpired():
                return [u.ExpireUpload()]
            case _:
                assert_never(event)


class KeyInversion:
    """Finds the commands of a key."""

    def add(self, recorded: RecordedEvent[k.KeyEvent]) -> None:
        """Commands of keys need no facts."""

    def commands(self, state: k.KeyState, events: Sequence[k.KeyEvent], at: datetime) -> list[k.KeyCommand]:
        """Returns the command of an append: see `Inversion`."""
        match event := events[0]:
            case k.KeyCreated() as created:
                return [
                    k.CreateKey(
                        name=created.name,
                        scope=created.scope,
                        hash=created.hash,
                        ending=created.ending,
                        requests_per_minute=created.requests_per_minute,
                        tokens_per_minute=created.tokens_per_minute,
                        max_runs=created.max_runs,
                    )
                ]
            case k.KeyModified() as changed:
                return [
                    k.ModifyKey(
                        name=changed.name,
                        requests_per_minute=changed.requests_per_minute,
                        tokens_per_minute=changed.tokens_per_minute,
                        max_runs=changed.max_runs,
                    )
                ]
            case k.KeyRevoked():
                return [k.RevokeKey()]
            case _:
                assert_never(event)


class ProjectInversion:
    """Finds the commands of a project."""

    def add(self, recorded: RecordedEvent[p.ProjectEvent]) -> None:
        """Commands of projects need no facts."""

    def commands(self, state: p.ProjectState, events: Sequence[p.ProjectEvent], at: datetime) -> list[p.ProjectCommand]:
        """Returns the command of an append: see `Inversion`."""
        match event := events[0]:
            case p.ProjectCreated(name=name):
                return [p.CreateProject(name)]
            case p.ProjectRenamed(name=name):
                return [p.RenameProject(name)]
            case _:
                assert_never(event)


class WebhookInversion:
    """Finds the commands of a webhook endpoint."""

    def add(self, recorded: RecordedEvent[w.WebhookEvent]) -> None:
        """Commands of endpoints need no facts."""

    def commands(self, state: w.WebhookState, events: Sequence[w.WebhookEvent], at: datetime) -> list[w.WebhookCommand]:
        """Returns the command of an append: see `Inversion`."""
        match event := events[0]:
            case w.WebhookEndpointCreated(url=url, description=description, events=names):
                return [w.CreateEndpoint(url, description, tuple(names))]
            case w.WebhookEndpointModified(changes=changes):
                return [w.ModifyEndpoint(changes)]
            case w.WebhookSecretRotated(previous_expires_in=seconds):
                return [w.RotateSecret(seconds)]
            case w.WebhookEndpointDisabled(reason=reason):
                return [w.DisableEndpoint(reason)]
            case w.WebhookEndpointDeleted():
                return [w.DeleteEndpoint()]
            case _:
                assert_never(event)


class SessionInversion:
    """Finds the commands of a session."""

    def add(self, recorded: RecordedEvent[s.SessionEvent]) -> None:
        """Commands of sessions need no facts."""

    def commands(self, state: s.SessionState, events: Sequence[s.SessionEvent], at: datetime) -> list[s.SessionCommand]:
        """Returns the command of an append: see `Inversion`."""
        match event := events[0]:
            case s.SessionCreated(method=method, expires_at=expires_at):
                return [s.CreateSession(method, expires_at)]
            case s.SessionEnded():
                return [s.EndSession()]
            case _:
                assert_never(event)


class InstallationInversion:
    """Finds the commands of the installation. Acts of the same time and origin are one command."""

    def add(self, recorded: RecordedEvent[i.InstallationEvent]) -> None:
        """Commands of the installation need no facts."""

    def commands(
        self, state: i.InstallationState, events: Sequence[i.InstallationEvent], at: datetime
    ) -> list[i.InstallationCommand]:
        """Returns the command of an append: see `Inversion`."""
        match event := events[0]:
            case i.InstallationCreated(name=name):
                return [i.CreateInstallation(name)]
            case i.EpochBegun() as begun:
                return [_begin_epoch(begun)]
            case i.LogKeyUsed(verifier_key=key):
                return [i.UseLogKey(key)]
            case i.ServerStarted(settings=settings):
                return [i.RecordStart(settings)]
            case i.TokenCreated() | i.AuditRead() | i.SignInsFailed() | i.ExportStarted() | i.ExportEnded():
                return [i.RecordActs(tuple(one for one in events if isinstance(one, i.Act)))]
            case i.StreamsErased() | i.ImportStarted() | i.StreamsImported() | i.ImportEnded():
                return [i.RecordActs(tuple(one for one in events if isinstance(one, i.Act)))]
            case RetentionSet() | HoldPlaced() | HoldEnded() | KeyEpochBegun() | KeyEpochDestroyed():
                return [i.RecordActs(tuple(one for one in events if isinstance(one, i.Act)))]
            case _:
                assert_never(event)


def _begin_epoch(begun: i.EpochBegun) -> i.BeginEpoch:
    kept = None
    if begun.kept_origin is not None:
        kept = i.KeptLog(begun.kept_origin, begun.kept_size or 0, begun.kept_root or "")
    return i.BeginEpoch(
        number=begun.number,
        previous_origin=begun.previous_origin or "",
        previous_checkpoint=begun.previous_checkpoint or "",
        reason=begun.reason or "",
        kept=kept,
    )


# How the commands of each type of stream are found; threads are in `check_commands`.
INVERSIONS: Mapping[StreamType[Any, Any], Callable[[], Inversion[Any, Any]]] = {
    ASSISTANT: AssistantInversion,
    FILE: FileInversion,
    INSTALLATION: InstallationInversion,
    KEY: KeyInversion,
    PROJECT: ProjectInversion,
    SESSION: SessionInversion,
    UPLOAD: UploadInversion,
    VECTOR_STORE: StoreInversion,
    WEBHOOK_ENDPOINT: WebhookInversion,
}
