"""The state of one call: its output and images, within their bounds, and the notes about them."""

from __future__ import annotations

import codecs

from service.sandbox.base import Image, Limits, SandboxLost
from service.sandbox.process import ConfinedProcess
from service.sandbox.protocol import CHUNK, CallFinished, FromInside, ImagePart

# Maximum number of packets of a call, and of bytes of all its images together. More is an attack.
MAX_PACKETS = 2_000
MAX_IMAGE_BYTES = 128 * 1024 * 1024
# Output beyond the bound that is dropped before the call is interrupted.
MAX_DROPPED = 16 * 1024 * 1024
_BEGINNINGS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
# Maximum pipes' worth of output that is read when the call has ended.
_DRAINS = 32


class CodeExecution:
    """`number` is the one that the runner must name at the end: an end that is forged or late has another number.

    `is_deaf` says that the pipe of printed output has ended, which never happens while the session is well.
    """

    def __init__(self, process: ConfinedProcess, limits: Limits, number: int) -> None:
        self.number = number
        self._process = process
        self._limits = limits
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = self._dropped = self._flood_start = 0
        self._images = self._left_out = self._packets = self._image_bytes = 0
        self._part = bytearray()
        self._image: Image | None = None
        self._is_paused = False
        self.is_deaf = False
        self.finished: CallFinished | None = None
        self.is_interrupted = False
        self.is_cut = False
        self.notes: list[str] = []

    @property
    def pipes(self) -> list[int]:
        """Returns the pipes to wait for."""
        return [self._process.output, self._process.errors]

    def drain(self) -> str:
        """Returns the output printed since the last call, one read at most, and nothing beyond the bound."""
        data = self._process.read(self._process.errors)
        if data == b"":
            self.is_deaf = True
        return self._keep(self._decoder.decode(data)) if data else ""

    def drain_rest(self) -> str:
        """Returns the remaining output when the call has ended."""
        tail = []
        for _ in range(_DRAINS):
            before = self._kept + self._dropped
            tail.append(self.drain())
            if self._kept + self._dropped == before:
                break
        return "".join(tail) + self._keep(self._decoder.decode(b"", final=True))

    def cut_notice(self) -> str:
        """Returns the lines for the logs about output and images that were left out, or an empty text."""
        lines = []
        if self._dropped:
            lines.append(f"[output cut here: {self._dropped} more bytes were printed]\n")
        if self._left_out:
            lines.append(
                f"[images left out: {self._left_out}; a call may show {self._limits.images}, "
                f"each of at most {self._limits.image} bytes]\n"
            )
        return "".join(["\n", *lines]) if lines else ""

    def take_flood(self) -> bool:
        """Returns whether so much output was dropped that the call must stop. The count restarts after True."""
        flooded = self._dropped - self._flood_start > MAX_DROPPED
        if flooded:
            self._flood_start = self._dropped
        return flooded

    def _keep(self, text: str) -> str:
        """Counts the text in bytes of UTF-8, and returns its part within the bound."""
        text = text.replace("\x00", "\ufffd")  # as the log stores it
        encoded = text.encode()
        room = self._limits.output - self._kept
        if len(encoded) <= room and not self.is_cut:
            self._kept += len(encoded)
            return text
        kept = "" if self.is_cut else encoded[:room].decode(errors="ignore")
        self.is_cut = True
        self._kept += len(kept.encode())
        self._dropped += len(encoded) - len(kept.encode())
        return kept

    def interrupt(self, why: str) -> None:
        self.is_interrupted = True
        self.notes.append(f"The call was interrupted: {why}.")

    def take(self, packet: FromInside, payload: bytes) -> bool:
        """Takes a packet. Returns whether it is the call's last. Raises SandboxLost for a packet that the runner never
        sends.
        """
        self._packets += 1
        if self._packets > MAX_PACKETS:
            raise SandboxLost("it sent frames without end")
        match packet:
            case CallFinished(call=number) if number == self.number:
                self.finished = packet
                return True
            case ImagePart(mime=mime, last=last) if payload and (last or len(payload) == CHUNK):
                self._add(mime, payload, last)
                return False
            case _:
                raise SandboxLost("it broke the protocol")

    def take_image(self) -> Image | None:
        """Returns the image that the last packet completed."""
        image, self._image = self._image, None
        return image

    def take_pause(self) -> bool:
        """Returns once whether the runner waits after an image, so that later output comes behind the image."""
        is_paused, self._is_paused = self._is_paused, False
        return is_paused

    def _add(self, mime: str, payload: bytes, last: bool) -> None:
        self._image_bytes += len(payload)
        if self._image_bytes > MAX_IMAGE_BYTES:
            raise SandboxLost("it sent images without end")
        if len(self._part) <= self._limits.image:
            self._part += payload
        if not last:
            return
        if not self._part.startswith(_BEGINNINGS[mime]):
            raise SandboxLost("it broke the protocol")
        self._images, self._is_paused = self._images + 1, True
        if self._images <= self._limits.images and len(self._part) <= self._limits.image:
            self._image = Image(mime, bytes(self._part))
        else:
            self._left_out += 1
        self._part.clear()
