"""The deciders of files and uploads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from events import file, upload
from events.errors import FileNotFound, NotFound, Rejection
from events.event_log import number_events
from events.file import CreateFile, DeleteFile, ExpireFile, FileState, check_use
from events.ids import file_id_of
from events.objects import File
from events.upload import AddPart, CancelUpload, CompleteUpload, CreateUpload, ExpireUpload, UploadState
from tests.clock import IDS
from tests.events.thread.story import ORIGIN, SECONDS, T0, types_of

CREATE = CreateFile("a.txt", "assistants", 50, "ab", "text/plain", None, "file-1")
SHORT = replace(CREATE, expires_after=3600)
UPLOAD = CreateUpload("a.jsonl", "fine-tune", 8, "text/jsonl", None)
LATER = T0 + timedelta(hours=1)


def a_file(*commands: Any, at: datetime = T0) -> FileState:
    state = FileState("file-1")
    for version, command in enumerate(commands):
        for entry in number_events("file-1", version, file.decide(state, command, at), at, ORIGIN):
            state = file.evolve(state, entry)
    return state


def an_upload(*commands: Any) -> UploadState:
    state = UploadState("upload_1")
    for version, command in enumerate(commands):
        for entry in number_events("upload_1", version, upload.decide(state, command, T0), T0, ORIGIN):
            state = upload.evolve(state, entry)
    return state


def complete(*sizes: int | None, ids: Sequence[str] = ("part_1", "part_2", "part_3")) -> CompleteUpload:
    return CompleteUpload(ids[: len(sizes)], sizes, "file-1")


PARTS = (UPLOAD, AddPart("part_1", 3, "a"), AddPart("part_2", 5, "b"))


def test_the_life_of_a_file() -> None:
    [created] = file.decide(a_file(), SHORT, T0)
    assert isinstance(created, file.FileCreated)
    assert created.expires_at == SECONDS + 3600
    assert types_of(file.decide(a_file(CREATE), DeleteFile(), T0)) == ["file.deleted"]
    assert not a_file(CREATE, DeleteFile()).exists
    with pytest.raises(FileNotFound, match="No such File object: file-1"):
        file.decide(a_file(CREATE, DeleteFile()), DeleteFile(), T0)


def test_making_it_again_of_the_same_bytes_does_nothing() -> None:
    assert file.decide(a_file(CREATE), CREATE, T0) == []
    with pytest.raises(Rejection, match="already exists"):
        file.decide(a_file(CREATE), replace(CREATE, sha256="cd"), T0)


def test_expiry_holds_before_it_is_noticed() -> None:
    state = a_file(SHORT)
    assert file.decide(state, ExpireFile(), LATER - timedelta(seconds=1)) == []
    assert types_of(file.decide(state, ExpireFile(), LATER)) == ["file.expired"]
    with pytest.raises(FileNotFound):
        file.decide(state, DeleteFile(), LATER)
    assert file.decide(a_file(CREATE), ExpireFile(), LATER) == []
    assert file.decide(a_file(), ExpireFile(), LATER) == []


def test_what_a_file_may_be_used_for() -> None:
    found = File("file-1", 0, "a.txt", "vision", 1, "ab", "text/plain", SECONDS + 3600, "file-1")
    check_use(found, "file-1", file.IMAGE_PURPOSES, T0)
    with pytest.raises(Rejection, match="has the purpose 'vision'; to be used here it needs the purpose 'assistants'"):
        check_use(found, "file-1", file.TOOL_PURPOSES, T0)
    for gone, at in ((None, T0), (found, LATER)):
        with pytest.raises(FileNotFound):
            check_use(gone, "file-1", file.IMAGE_PURPOSES, at)


def test_an_upload_is_completed_by_its_parts_in_any_order() -> None:
    state = an_upload(*PARTS)
    assert (state.parts, state.received) == (2, 8)
    assert types_of(upload.decide(state, complete(5, 3, ids=("part_2", "part_1")), T0)) == ["upload.completed"]


@pytest.mark.parametrize(
    ("sizes", "ids", "message"),
    [
        ((3,), ("part_1",), "3 bytes in total, but the upload was created for 8"),
        ((3, None), ("part_1", "part_9"), "has no part 'part_9'"),
        ((4, 4), ("part_1", "part_1"), "more than once"),
        ((), (), "0 bytes"),
    ],
)
def test_parts_must_be_whole(sizes: tuple[int | None, ...], ids: tuple[str, ...], message: str) -> None:
    with pytest.raises(Rejection, match=message):
        upload.decide(an_upload(*PARTS), complete(*sizes, ids=ids), T0)


@pytest.mark.parametrize("end", [CancelUpload(), complete(3, 5), "expired"], ids=["cancelled", "completed", "expired"])
@pytest.mark.parametrize("command", [AddPart("part_3", 1, "c"), complete(3, 5), CancelUpload()])
def test_nothing_comes_after_the_end(end: Any, command: Any) -> None:
    state, at = (an_upload(*PARTS), LATER) if end == "expired" else (an_upload(*PARTS, end), T0)
    with pytest.raises(Rejection, match=r"Upload upload_1 is (cancelled|completed|expired)"):
        upload.decide(state, command, at)


def test_completing_an_upload_just_so_again_does_nothing() -> None:
    first = replace(complete(3, 5), md5="ab")
    state = an_upload(*PARTS, first)
    [before] = upload.decide(an_upload(*PARTS), first, T0)
    assert isinstance(before, upload.UploadCompleted)
    # The end of the upload removed the parts, and with them their sizes.
    again = replace(complete(None, None), before=before)
    assert upload.decide(state, again, LATER) == []
    assert upload.decide(state, replace(again, md5="ab"), T0) == []
    for other in (
        replace(again, md5="cd"),
        replace(again, part_ids=("part_2", "part_1")),
        replace(again, before=None),
    ):
        with pytest.raises(Rejection, match="is completed"):
            upload.decide(state, other, T0)


def test_an_upload_expires_by_itself() -> None:
    state = an_upload(*PARTS)
    assert upload.decide(state, ExpireUpload(), LATER - timedelta(seconds=1)) == []
    assert types_of(upload.decide(state, ExpireUpload(), LATER)) == ["upload.expired"]
    assert upload.decide(an_upload(*PARTS, CancelUpload()), ExpireUpload(), LATER) == []


def test_parts_have_bounds() -> None:
    state = an_upload(UPLOAD)
    with pytest.raises(Rejection, match="exceed the limit"):
        upload.decide(replace(state, received=upload.MAX_BYTES), AddPart("p", 1, ""), T0)
    again = replace(state, received=upload.MAX_TRANSFERS * 8 - 1)
    assert types_of(upload.decide(again, AddPart("p", 1, ""), T0)) == ["upload.part_added"]
    with pytest.raises(Rejection, match="exceed the limit of 24 bytes in total"):
        upload.decide(again, AddPart("p", 2, ""), T0)
    largest = replace(state, bytes=upload.MAX_BYTES, received=upload.MAX_BYTES)
    assert types_of(upload.decide(largest, AddPart("p", 1, ""), T0)) == ["upload.part_added"], "a part may come again"
    with pytest.raises(Rejection, match="larger than the 8 bytes that upload upload_1 was created for"):
        upload.decide(state, AddPart("p", 9, ""), T0)
    with pytest.raises(Rejection, match="which is the limit"):
        upload.decide(replace(state, parts=upload.MAX_PARTS), AddPart("p", 1, ""), T0)
    with pytest.raises(NotFound):
        upload.decide(an_upload(), CancelUpload(), T0)
    with pytest.raises(Rejection, match="already exists"):
        upload.decide(state, UPLOAD, T0)


def test_ids() -> None:
    assert len(IDS.new_file()) == len("file-") + 22 == len(file_id_of("upload_1"))
    assert file_id_of("upload_1") == file_id_of("upload_1") != file_id_of("upload_2")
    assert len(IDS.new_hex("part")) == len("part_") + 32
