"""The part of the log that an export has: its checkpoints and tiles, and who vouches for them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from events.installation import EpochBegun
from service.audit.checkpoint import Checkpoint
from service.audit.log_check import KnownCheckpoint
from service.audit.merkle import HASH_BYTES, tree_root
from service.audit.notes import FormatError, Note, SignatureError, VerifierKey, decode_base64
from service.audit.tiles import (
    FULL_WIDTH,
    TileHashes,
    TilePlace,
    TileResource,
    hash_complete,
    parse_path,
    split_hashes,
    tile_width,
)
from service.exports.layout import MANIFEST, ManifestEpoch


@dataclass(frozen=True, slots=True)
class LeafRun:
    """The leaves of events with the indexes first, first + 1, …: 32 bytes each."""

    first: int
    leaves: bytearray

    @property
    def end(self) -> int:
        """The index after the last event."""
        return self.first + len(self.leaves) // HASH_BYTES


class LogPart:
    """The files of an export's log. Call `add` with each, and then `check`. `report` is called with each fault.

    `recorded` are the keys that events of the export record, and `kept` the trees of ended epochs that they name, by
    origin: add to them while the events are read.
    """

    def __init__(
        self, keys: Collection[VerifierKey], known: Collection[KnownCheckpoint], report: Callable[[str], None]
    ) -> None:
        self.recorded: list[VerifierKey] = []
        self.kept: dict[str, EpochBegun] = {}
        # The number of events that the checkpoints cover which a given key, or one that is recorded, has signed.
        self.signed = 0
        self._keys = keys
        self._known = known
        self._report = report
        self._notes: dict[int, str] = {}
        self._tiles: dict[int, dict[TilePlace, bytes]] = {}
        self._epochs: Sequence[ManifestEpoch] = ()

    def add(self, path: str, rest: str, data: bytes) -> None:
        """Adds the file at `path`, which is `rest` below the folder of the log."""
        number, _, name = rest.partition("/")
        if not number.isdecimal():
            self._report(f"{path} is no file of an export")
            return
        epoch = int(number)
        try:
            if name == "checkpoint":
                self._notes[epoch] = data.decode()
                return
            tile: TileResource = parse_path(name)
        except (ValueError, UnicodeDecodeError) as error:
            self._report(f"{path} is no file of an export: {error}")
            return
        if tile.level is None or len(data) != HASH_BYTES * tile.width:
            self._report(f"{path} was changed: it has {len(data)} bytes")
            return
        self._tiles.setdefault(epoch, {})[TilePlace(tile.level, tile.number)] = data

    def check(self, epochs: Sequence[ManifestEpoch], runs: Sequence[LeafRun]) -> None:
        """Checks the epochs of the manifest. `runs` are the leaves of the events that the export has."""
        self._epochs = epochs
        self._check_order(epochs)
        for epoch in epochs:
            self._check_epoch(epoch, runs, is_newest=epoch is epochs[-1])
        origins = {epoch.origin for epoch in epochs}
        for item in self._known:
            origin = item.checkpoint.origin
            if origin not in origins:
                self._report(f"{item.source} is of the log {origin}, which the export does not know")

    def leaf(self, index: int) -> bytes | None:
        """Returns the leaf that the tiles have at an index; None if they have none. Call `check` before."""
        for epoch in self._epochs:
            number, at = divmod(index - epoch.first_index, FULL_WIDTH)
            if number >= 0 and index < epoch.first_index + epoch.size:
                tile = self._tiles.get(epoch.epoch, {}).get(TilePlace(0, number), b"")
                return tile[HASH_BYTES * at : HASH_BYTES * (at + 1)] or None
        return None

    def _check_order(self, epochs: Sequence[ManifestEpoch]) -> None:
        """Checks that the epochs follow each other, so that each index is of one of them."""
        index = 0
        for number, epoch in enumerate(epochs, start=1):
            if (epoch.epoch, epoch.first_index) != (number, index) or epoch.checkpoint_size > epoch.size:
                self._report(f"{MANIFEST}: the epoch {epoch.epoch} does not follow the one before it")
                return
            index += epoch.size

    def _check_epoch(self, epoch: ManifestEpoch, runs: Sequence[LeafRun], *, is_newest: bool) -> None:
        """Checks that the tiles of an epoch lead to the root of its checkpoint, and who signed that."""
        if epoch.size == 0:
            return
        tiles = self._tiles.get(epoch.epoch, {})
        place = f"epoch {epoch.epoch} of the log"
        self._check_tiles(tiles, epoch, place)
        text = self._notes.get(epoch.epoch)
        try:
            if text is None or epoch.checkpoint_size == 0:
                self._check_rest(epoch, TileHashes(tiles), runs, is_newest=is_newest)
                return
            note = Note.parse(text)
            checkpoint = Checkpoint.parse(note.text)
            if (checkpoint.origin, checkpoint.size) != (epoch.origin, epoch.checkpoint_size):
                raise FormatError("it is of another log or size")
            if tree_root(checkpoint.size, TileHashes(tiles)) != checkpoint.root:
                raise FormatError("the tiles lead to another root: the log was rewritten")
            if self._keys:
                keys = [*self._keys, *([] if is_newest else self.recorded)]
                note.verify([VerifierKey(epoch.origin, key.type, key.public_key) for key in keys])
                self.signed += checkpoint.size
            if epoch.size > epoch.checkpoint_size:
                self._check_rest(epoch, TileHashes(tiles), runs, is_newest=is_newest)
            self._compare_known(epoch, TileHashes(tiles))
        except (FormatError, SignatureError, ValueError) as error:
            self._report(f"{place}: its checkpoint is not valid: {error}")
        except LookupError:
            self._report(f"{place}: tiles are missing")

    def _check_rest(self, epoch: ManifestEpoch, tiles: TileHashes, runs: Sequence[LeafRun], *, is_newest: bool) -> None:
        """Checks events behind the checkpoint of an epoch: a restore ended it, and an event of the next has the root.

        An export of a part has that event only if it belongs to it, and then its events must be before the checkpoint.
        """
        first = epoch.first_index + epoch.checkpoint_size
        end = epoch.first_index + epoch.size
        kept = self.kept.get(epoch.origin)
        if not is_newest and kept is not None and kept.kept_size == epoch.size and kept.kept_root is not None:
            if tree_root(epoch.size, tiles) == decode_base64(kept.kept_root):
                return
        elif not is_newest and not any(run.first < end and run.end > first for run in runs):
            return
        covered = f"its checkpoint covers {epoch.checkpoint_size} of its {epoch.size} events"
        self._report(f"epoch {epoch.epoch} of the log: {covered}, and nothing vouches for the rest")

    def _compare_known(self, epoch: ManifestEpoch, tiles: TileHashes) -> None:
        for item in self._known:
            checkpoint = item.checkpoint
            if checkpoint.origin != epoch.origin:
                continue
            if checkpoint.size > epoch.size:
                self._report(f"{item.source} is newer than the export, so it cannot be compared")
                continue
            try:
                is_same = tree_root(checkpoint.size, tiles) == checkpoint.root
            except LookupError:
                self._report(f"{item.source} cannot be compared: the export lacks tiles for its size")
            else:
                if not is_same:
                    self._report(f"the log was rewritten or forked: it has another root than {item.source}")

    def _check_tiles(self, tiles: dict[TilePlace, bytes], epoch: ManifestEpoch, name: str) -> None:
        for place, tile in tiles.items():
            if len(tile) != HASH_BYTES * tile_width(place, epoch.size):
                self._report(f"{name}: the tile {place.number} at level {place.level} has another size")
            elif len(tile) == HASH_BYTES * FULL_WIDTH:
                above = tiles.get(TilePlace(place.level + 1, place.number // FULL_WIDTH))
                at = place.number % FULL_WIDTH
                if above is None or split_hashes(above)[at] != hash_complete(split_hashes(tile)):
                    self._report(f"{name}: the tile {place.number} at level {place.level} was changed")
