"""The hosts of the images that requests name by URL. The model server fetches the images, and resolves their names."""

from __future__ import annotations

from aiohttp import web

from events.thread.commands import NewMessage
from service.http.services import SETTINGS
from service.wire.image_urls import check_image_hosts
from service.wire.request_types import RunRequest, ThreadRequest


def check(request: web.Request, asked: ThreadRequest | RunRequest | NewMessage, prefix: str = "") -> None:
    """Raises Rejection if an image of the messages is at a private host and the settings do not allow it.

    `prefix` is the path of `asked` within the body: "thread." or nothing.
    """
    if not request.app[SETTINGS].allows_private_images:
        check_image_hosts(asked, prefix)
