"""The forms of an export: a folder, which an interrupted export goes on with, or a tar file compressed by zstd.

If there is a seal, each file is compressed and encrypted by itself, and `key.age` stands beside them.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson
import zstandard

from service.exports.file_seal import KEY_FILE, SUFFIX, FileSeal
from service.exports.layout import MANIFEST, MAX_FILE_BYTES, ExportedFile, ExportFault, check_path

TAR_SUFFIX = ".tar.zst"
# Beside the files of an export that has not ended: its order, and a line for each file that is whole.
JOURNAL = "export.journal"
# The files of a folder are read in this order, as a tar file has them.
_ORDER = {"log": 0, "events": 1, "blobs": 2, MANIFEST: 3}
_SEALED_SUFFIX = ".zst" + SUFFIX
_FORMS = (MANIFEST, MANIFEST + _SEALED_SUFFIX)


class ExportSink(Protocol):
    """The place of a new export. Its methods block: call them in a thread."""

    def add(self, file: ExportedFile, data: bytes, next_index: int | None = None) -> None:
        """Adds a file. `next_index` is the index to go on with behind a file of events. Raises OSError."""
        ...

    def finish(self, manifest: bytes) -> None:
        """Adds the manifest, after which the export is whole. Raises OSError."""
        ...


class FolderSink:
    """A folder. `order` describes the export: one of the same `scope` goes on in it, with the order that it began with.

    `files` are those that an earlier try has written, by path; `next_index` is the index to go on with. If there is a
    passphrase, the files are encrypted.
    """

    def __init__(self, folder: Path, order: dict[str, Any], passphrase: str | None = None) -> None:
        """Raises ExportFault if another export, or anything else, is there, and OSError."""
        self._folder = folder
        self._seal: FileSeal | None = None
        self.files: dict[str, ExportedFile] = {}
        self.next_index = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        journal = folder / JOURNAL
        if journal.exists():
            self.order = self._resume(journal, order, passphrase)
        elif any(folder.iterdir()):
            raise ExportFault(f"{folder} is not empty, and has no export to go on with")
        else:
            self.order = order
            if passphrase is not None:
                self._seal = FileSeal.new()
                _write_whole(folder / KEY_FILE, self._seal.key_file(passphrase))
            _write_whole(journal, _line(order))
        self._journal = journal.open("ab")

    def add(self, file: ExportedFile, data: bytes, next_index: int | None = None) -> None:
        """Adds a file. Raises OSError."""
        _write_file(self._folder, file.path, data, self._seal)
        self._journal.write(_line({**asdict(file), "next_index": next_index}))
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def finish(self, manifest: bytes) -> None:
        """Adds the manifest, after which the export is whole. Raises OSError."""
        _write_file(self._folder, MANIFEST, manifest, self._seal)
        self._journal.close()
        (self._folder / JOURNAL).unlink()

    def close(self) -> None:
        """Closes the journal; the export can go on later."""
        self._journal.close()

    def _resume(self, journal: Path, order: dict[str, Any], passphrase: str | None) -> dict[str, Any]:
        """Loads the files that were written before. Returns the order with which the export began."""
        data = journal.read_bytes()
        whole = data.rfind(b"\n") + 1
        begun, *files = [orjson.loads(line) for line in data[:whole].splitlines()]
        key_file = self._folder / KEY_FILE
        if begun["scope"] != order["scope"] or key_file.exists() != (passphrase is not None):
            raise ExportFault(f"{self._folder} has an export of another scope: choose another folder, or remove it")
        if passphrase is not None:
            self._seal = FileSeal.open(key_file.read_bytes(), passphrase)
        for line in files:
            next_index = line.pop("next_index")
            self.files[line["path"]] = ExportedFile(**line)
            self.next_index = self.next_index if next_index is None else next_index
        # A line of which only a part was written would spoil the next one.
        with journal.open("r+b") as file:
            file.truncate(whole)
        found: dict[str, Any] = begun
        return found


class TarSink:
    """A tar file, compressed by zstd. It has its name when it is whole, so an interrupted export begins again."""

    def __init__(self, path: Path, passphrase: str | None = None) -> None:
        """Raises ExportFault if the file exists, and OSError."""
        if path.exists():
            raise ExportFault(f"{path} exists")
        self.files: dict[str, ExportedFile] = {}
        self.next_index = 0
        self._path = path
        self._seal = None if passphrase is None else FileSeal.new()
        self._partial = path.with_name(path.name + ".partial")
        with ExitStack() as stack:
            file = stack.enter_context(open(self._partial, "wb", opener=_open_private))
            stream = stack.enter_context(zstandard.ZstdCompressor().stream_writer(file, closefd=False))
            self._tar = stack.enter_context(tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT))
            self._file = file
            self._stack = stack.pop_all()
        if self._seal is not None and passphrase is not None:
            self._put(KEY_FILE, self._seal.key_file(passphrase))

    def add(self, file: ExportedFile, data: bytes, next_index: int | None = None) -> None:
        """Adds a file. Raises OSError."""
        self._put(_stored_path(file.path, self._seal), _stored_bytes(data, self._seal))

    def finish(self, manifest: bytes) -> None:
        """Adds the manifest, after which the export is whole. Raises OSError."""
        self._put(_stored_path(MANIFEST, self._seal), _stored_bytes(manifest, self._seal))
        self._stack.close()
        self._partial.rename(self._path)

    def close(self) -> None:
        """Removes the file if the export has not ended."""
        self._stack.close()
        self._partial.unlink(missing_ok=True)

    def _put(self, path: str, data: bytes) -> None:
        member = tarfile.TarInfo(path)
        member.size, member.mode = len(data), 0o600
        self._tar.addfile(member, io.BytesIO(data))


def read_files(place: Path, passphrase: str | None) -> Iterator[tuple[str, bytes]]:
    """Yields the paths and the bytes of an export's files: those of the log, events, parts of blobs, the manifest.

    Raises ExportFault if the place is no export or is not whole, if a file is too large or cannot be decrypted, or if
    an encrypted export comes without a passphrase, and OSError.
    """
    files = _read_folder(place) if place.is_dir() else _read_tar(place)
    seal: FileSeal | None = None
    for number, (path, data) in enumerate(files):
        if number == 0 and passphrase is not None and path != KEY_FILE:
            raise ExportFault(f"{place} is not encrypted, and a passphrase was given")
        if path == KEY_FILE:
            if passphrase is None:
                raise ExportFault(f"{place} is encrypted: give the file with its passphrase")
            seal = FileSeal.open(data, passphrase)
        elif seal is not None:
            yield _open_file(path, data, seal)
        else:
            yield check_path(path), data


def is_whole(folder: Path) -> bool:
    """Says if the folder has an export that has ended."""
    return any((folder / name).exists() for name in _FORMS) and not (folder / JOURNAL).exists()


def _open_file(path: str, data: bytes, seal: FileSeal) -> tuple[str, bytes]:
    if not path.endswith(_SEALED_SUFFIX):
        raise ExportFault(f"{path} is not encrypted, unlike the export")
    return check_path(path.removesuffix(_SEALED_SUFFIX)), _decompress(seal.unseal(data, path), path)


def _decompress(data: bytes, path: str) -> bytes:
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            plain: bytes = reader.read(MAX_FILE_BYTES + 1)
    except zstandard.ZstdError as error:
        raise ExportFault(f"{path} cannot be decompressed: {error}") from None
    return _check_size(plain, path)


def _check_size(data: bytes, path: str) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise ExportFault(f"{path} has more than {MAX_FILE_BYTES} bytes")
    return data


def _read_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    if not is_whole(folder):
        state = "has an export that has not ended" if (folder / JOURNAL).exists() else "has no export"
        raise ExportFault(f"{folder} {state}")
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if KEY_FILE in paths:
        yield KEY_FILE, _read_check_size(folder / KEY_FILE, KEY_FILE)
        paths.remove(KEY_FILE)
    for path in sorted(paths, key=_rank):
        yield path, _read_check_size(folder / path, path)


def _rank(path: str) -> tuple[int, str]:
    first = path.split("/", 1)[0].removesuffix(_SEALED_SUFFIX)
    return _ORDER.get(first, len(_ORDER)), path


def _read_check_size(path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        return _check_size(file.read(MAX_FILE_BYTES + 1), name)


def _read_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    with _open_tar(path) as tar:
        try:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is None:
                    raise ExportFault(f"{path}: {member.name} is no file")
                yield member.name, _check_size(file.read(MAX_FILE_BYTES + 1), member.name)
        except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
            raise ExportFault(f"{path} is broken: {error}") from None


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        stream = stack.enter_context(zstandard.ZstdDecompressor().stream_reader(file))
        try:
            tar = stack.enter_context(tarfile.open(fileobj=_as_binary(stream), mode="r|"))
        except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
            raise ExportFault(f"{path} is no export: {error}") from None
        yield tar


def _as_binary(stream: Any) -> BinaryIO:
    binary: BinaryIO = stream
    return binary


def _write_file(folder: Path, path: str, data: bytes, seal: FileSeal | None) -> None:
    place = folder / _stored_path(path, seal)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_whole(place, _stored_bytes(data, seal))


def _stored_path(path: str, seal: FileSeal | None) -> str:
    return path if seal is None else path + _SEALED_SUFFIX


def _stored_bytes(data: bytes, seal: FileSeal | None) -> bytes:
    return data if seal is None else seal.seal(zstandard.ZstdCompressor().compress(data))


def _write_whole(path: Path, data: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    new = path.with_name(path.name + ".new")
    with open(new, "wb", opener=_open_private) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
