"""Sends each kept checkpoint to places outside this machine: a folder, an object store, a webhook.

A place that cannot be reached holds up nothing. It gets the newest checkpoint when it can be reached again; that one
covers all that the place missed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import aiohttp
import structlog

from service.audit.notes import Note
from service.small_sockets import open_connector

log = structlog.get_logger()

SEND_S = 30.0
# Seconds until a checkpoint that could not be sent is sent again, or a newer one instead.
RETRY_S = 20.0


class PushError(Exception):
    """A checkpoint could not be sent. The message says why, and holds no secret."""


class PushTarget(Protocol):
    """A place for checkpoints. `kind` names it in log events."""

    kind: str

    async def send(self, name: str, text: str) -> None:
        """Stores the checkpoint under `name`, such as `everthread/5c…/1/7.checkpoint`. Raises PushError."""


class FolderTarget:
    """A folder, for example of another machine. A checkpoint never replaces a file."""

    kind = "folder"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, name: str, text: str) -> None:
        try:
            await asyncio.to_thread(self._write, self._folder / name, text)
        except OSError as error:
            raise PushError(error.strerror or type(error).__name__) from None

    def _write(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        try:
            with suppress(FileExistsError):
                os.link(new, file)
        finally:
            new.unlink()


class ObjectStoreTarget:
    """An object store, by its URL; credentials come from AWS_*, GOOGLE_* and AZURE_*.

    A checkpoint never replaces an object. Requests to S3 carry a checksum, which buckets with an object lock demand.
    """

    kind = "object_store"

    def __init__(self, url: str) -> None:
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        options = {"timeout": timedelta(seconds=SEND_S), "allow_http": True}
        config = {"aws_checksum_algorithm": "SHA256"} if url.startswith("s3://") else {}
        try:
            self._store = from_url(url, client_options=options, config=config)  # type: ignore[call-overload]
        except (BaseError, ValueError) as error:
            raise ValueError(f"an object store cannot be used: {error}") from None

    async def send(self, name: str, text: str) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            await obstore.put_async(self._store, name, text.encode(), mode="create")
        except AlreadyExistsError:
            return
        except (BaseError, OSError) as error:
            raise PushError(f"the object store refused it: {type(error).__name__}") from None


class WebhookTarget:
    """An HTTP server, which gets the checkpoint as the body of a POST."""

    kind = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

    async def send(self, name: str, text: str) -> None:
        timeout = aiohttp.ClientTimeout(total=SEND_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=open_connector()) as session,
                session.post(self._url, data=text.encode(), allow_redirects=False) as response,
            ):
                if response.status >= 300:
                    raise PushError(f"the webhook answered {response.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PushError(f"the webhook cannot be reached: {type(error).__name__}") from None


class CheckpointPusher:
    """Sends checkpoints to the targets as long as `run` runs."""

    def __init__(self, targets: Sequence[PushTarget], *, retry_s: float = RETRY_S) -> None:
        self._targets = targets
        self._retry_s = retry_s
        self._newest: tuple[str, str] | None = None
        self._has_news = [asyncio.Event() for _ in targets]

    def push(self, origin: str, size: int, note: Note) -> None:
        """Sends a checkpoint in the background, in place of older ones that wait."""
        self._newest = (f"{origin}/{size}.checkpoint", str(note))
        for news in self._has_news:
            news.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for target, news in zip(self._targets, self._has_news, strict=True):
                tasks.create_task(self._send_to(target, news))

    async def _send_to(self, target: PushTarget, news: asyncio.Event) -> None:
        while True:
            await news.wait()
            news.clear()
            if self._newest is None:
                continue
            name, text = self._newest
            try:
                await target.send(name, text)
            except PushError as error:
                log.warning("checkpoint_not_pushed", target=target.kind, name=name, error=str(error))
                news.set()
                await asyncio.sleep(self._retry_s)


def open_targets(places: Sequence[str]) -> list[PushTarget]:
    """Returns the targets of the settings' places: folders, URLs of object stores, and http(s) URLs of webhooks.

    Raises ValueError if a URL cannot be used.
    """
    targets: list[PushTarget] = []
    for place in places:
        if place.startswith("/"):
            targets.append(FolderTarget(Path(place)))
        elif place.startswith(("http://", "https://")):
            targets.append(WebhookTarget(place))
        else:
            targets.append(ObjectStoreTarget(place))
    return targets
