"""The URLs of images in messages: the schemes and the hosts that they may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import PydanticCustomError

from events.errors import Rejection
from events.thread.commands import NewMessage
from service.addresses import is_image_url, is_public_image_url
from service.wire.request_types import RunRequest, ThreadRequest


def check_image_url(url: str) -> str:
    """Returns the URL. Raises PydanticCustomError if it is no URL of http, https or data:image."""
    if not is_image_url(url):
        raise PydanticCustomError("invalid_url", "Expected a valid URL, but got a value with an invalid format.")
    return url


def check_image_hosts(request: ThreadRequest | RunRequest | NewMessage, prefix: str = "") -> None:
    """Raises Rejection if an image of a message in the request is at a private host. Names are not resolved.

    `prefix` is the path of the request within the body: "thread." or nothing.
    """
    for param, url in _image_urls(request, prefix):
        if not is_public_image_url(url):
            message = f"Invalid '{param}'. Expected a URL with a public host, but got a private one."
            raise Rejection(message, param=param, code="invalid_value")


def _image_urls(request: ThreadRequest | RunRequest | NewMessage, prefix: str) -> Iterator[tuple[str, str]]:
    match request:
        case ThreadRequest(messages=messages):
            for number, message in enumerate(messages):
                yield from _urls_of_content(message.content, f"{prefix}messages[{number}].")
        case RunRequest(additional_messages=messages):
            for number, message in enumerate(messages):
                yield from _urls_of_content(message.content, f"{prefix}additional_messages[{number}].")
        case NewMessage(content=content):
            yield from _urls_of_content(content, prefix)


def _urls_of_content(content: Sequence[Mapping[str, Any]], prefix: str) -> Iterator[tuple[str, str]]:
    for number, part in enumerate(content):
        if part["type"] == "image_url":
            yield f"{prefix}content[{number}].image_url.url", part["image_url"]["url"]
