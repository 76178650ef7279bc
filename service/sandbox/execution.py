"""The state of one call: its output and images, within their bounds, and the notes about them."""

from __future__ import annotations

import codecs

from service.sandbox.base import Image, Limits, SandboxLost
from service.sandbox.process import ConfinedProcess
from service.sandbox.protocol import CHUNK, CallFinished, FromInside, ImagePart

# Maximum number of packets of a call, and of bytes of all its images together. More is an attack.
MOST_PACKETS = 2_000
MOST_IMAGE_BYTES = 128 * 1024 * 1024
# Output beyond the bound that is dropped before the call is interrupted.
THROWN_AWAY = 16 * 1024 * 1024
_BEGINNINGS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
# Maximum pipes' worth of output that is read when the call has ended.
_DRAINS = 32


class Call:
    """`number` is the one that the runner must name at the end: an end that is forged or late has another number.

    `deaf` says that the pipe of printed output has ended, which never happens while the session is well.
    """

    def __init__(self, process: ConfinedProcess, limits: Limits, number: int) -> None:
        self.number = number
        self._process = process
        self._limits = limits
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = self._thrown = self._images = self._packets = self._image_bytes = 0
        self._part = bytearray()
        self._image: Image | None = None
        self._waits = False
        self.deaf = False
        self.finished: CallFinished | None = None
        self.interrupted = False
        self.cut = False
        self.notes: list[str] = []

    @property
    def pipes(self) -> list[int]:
        """Returns the pipes to wait for."""
        return [self._process.output, self._process.errors]

    def drain(self) -> str:
        """Returns the output printed since the last call, one read at most, and nothing beyond the bound."""
        data = self._process.read(self._process.errors)
        if data == b"":
            self.deaf = True
        if not data:
            return ""
        room = self._limits.output - self._kept
        if len(data) > room:
            if not self.cut:
                self.notes.append(f"The output was cut after {self._limits.output} bytes.")
                self.cut = True
            self._thrown += len(data) - room
            data = data[:room]
        self._kept += len(data)
        return self._decoder.decode(data)

    def rest(self) -> str:
        """Returns the remaining output when the call has ended."""
        tail = []
        for _ in range(_DRAINS):
            before = self._kept + self._thrown
            tail.append(self.drain())
            if self._kept + self._thrown == before:
                break
        return "".join(tail) + self._decoder.decode(b"", final=True)

    def flood(self) -> bool:
        """Returns whether so much output was dropped that the call must stop. The count restarts after True."""
        flooded = self._thrown > THROWN_AWAY
        if flooded:
            self._thrown = 0
        return flooded

    def interrupt(self, why: str) -> None:
        self.interrupted = True
        self.notes.append(f"The call was interrupted: {why}.")

    def take(self, packet: FromInside, payload: bytes) -> bool:
        """Takes a packet. Returns whether it is the call's last. Raises SandboxLost for a packet that the runner never
        sends.
        """
        self._packets += 1
        if self._packets > MOST_PACKETS:
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

    def image(self) -> Image | None:
        """Returns the image that the last packet completed."""
        image, self._image = self._image, None
        return image

    def waits(self) -> bool:
        """Returns once whether the runner waits after an image, so that later output comes behind the image."""
        waits, self._waits = self._waits, False
        return waits

    def _add(self, mime: str, payload: bytes, last: bool) -> None:
        self._image_bytes += len(payload)
        if self._image_bytes > MOST_IMAGE_BYTES:
            raise SandboxLost("it sent images without end")
        if len(self._part) <= self._limits.image:
            self._part += payload
        if not last:
            return
        if not self._part.startswith(_BEGINNINGS[mime]):
            raise SandboxLost("it broke the protocol")
        self._images, self._waits = self._images + 1, True
        if self._images <= self._limits.images and len(self._part) <= self._limits.image:
            self._image = Image(mime, bytes(self._part))
        else:
            note = (
                f"Images past {self._limits.images}, and those larger than {self._limits.image} bytes, were left out."
            )
            self.notes += [note] if note not in self.notes else []
        self._part.clear()
