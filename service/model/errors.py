"""Errors of the upstream as texts that clients may see: one line of bounded length, without keys and addresses.

The codes are those of a run's last_error:

- `rate_limit_exceeded`: the upstream's rate limit or the quota of its owner is exceeded (429).
- `invalid_prompt`: the upstream rejected the request and would reject it again, for example because the prompt exceeds
  the context window or a schema is not supported (400, 413, 422).
- `server_error`: every other error. This includes a wrong key and an unknown model name, which the operator of this
  server has to correct and not the author of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from service.addresses import is_public
from service.model.base import ModelError

MAX_CAUSE = 500  # characters of an upstream's own text in a ModelError
MAX_HEAD = 20_000  # characters of a page that are searched for its title
HIDDEN = "***"
MIN_KEY = 4  # characters. Shorter "keys" such as x are placeholders, and hiding them would hide ordinary words

_KEYS = re.compile(r"(?i)\b(?:sk|pk|rk|gsk|xai|key)[-_][\w*.-]{6,}|(?<=bearer )[^\s'\",;]+|(?<=[?&]key=)[^\s&'\"]+")
# An IPv4 address, with its port.
_ADDRESS = re.compile(r"(?<![\w.])(?P<address>\d{1,3}(?:\.\d{1,3}){3})(?!\.?\w)(?::\d+)?")
_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body|title)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_INVALID_STATUSES = frozenset({400, 413, 422})
# Types of errors inside a stream that have no code; the second is vLLM's.
_INVALID_TYPES = frozenset({"invalid_request_error", "BadRequestError"})
_RETRYABLE_STATUSES = frozenset({408, 409, 429})
_UNKNOWN_MODEL = "model_not_found"
# A model's answer was no valid call, or no JSON. Another answer may be.
_SAMPLING_FAILURES = frozenset({"tool_use_failed", "json_validate_failed"})
_QUOTA_EXCEEDED = "insufficient_quota"  # a 429 for which waiting does not help


def to_storable(text: str) -> str:
    """Replaces NUL and lone surrogates, which Postgres rejects in text, by U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def hide_keys(text: str, keys: Iterable[str] = ()) -> str:
    """Replaces these keys, and everything that looks like a key, by asterisks."""
    for key in keys:
        if len(key) >= MIN_KEY:
            text = text.replace(key, HIDDEN)
    return _KEYS.sub(HIDDEN, text)


def hide_addresses(text: str, base_url: str) -> str:
    """Replaces the host of `base_url`, and every address that is not public, by asterisks.

    The texts of a model server, and of proxies before it, may name the network that they are in.
    """
    parts = urlsplit(base_url)
    if parts.hostname:
        # A name without a dot may be an ordinary word, so it is hidden only if it is written as a host.
        is_word = "." not in parts.hostname and ":" not in parts.hostname
        before, after = (r"(?<=//)", r"(?![\w.-])") if is_word else (r"(?<![\w.-])", r"(?![\w-])")
        host = re.escape(parts.hostname)
        text = re.sub(rf"(?i)(?:{before}{host}{after}|(?<![\w.-]){host}:\d+)(?::\d+)?", HIDDEN, text)
    return _ADDRESS.sub(lambda found: found.group() if is_public(found["address"]) else HIDDEN, text)


def cause_of(error: object) -> str:
    """Returns the text of an upstream's error, in any of the usual shapes, as one line of bounded length."""
    value: object = error
    while isinstance(value, Mapping):
        keys = ("error", "message", "detail", "msg")
        found = [value[key] for key in keys if value.get(key)] or [_text_of(value)]
        # If the first is the name of a status, the error is beside it.
        value = found[1] if isinstance(found[0], str) and len(found) > 1 else found[0]
    if isinstance(value, list) and value and isinstance(value[0], Mapping | str):
        return cause_of(value[0])
    text = _text_of(value)
    return page_title(text) or to_storable(" ".join(text.split()))[:MAX_CAUSE]


def _text_of(value: object) -> str:
    """Returns a text as it is, and another value as Python writes it, unless it is nested too deeply."""
    try:
        return value if isinstance(value, str) else str(value)
    except RecursionError:
        return "an error of many levels"


def excerpt(data: bytes) -> str:
    """Returns the beginning of an answer that is no chat completion, for an error: of a page, its title."""
    return page_title(data.decode(errors="replace")) or to_storable(data[:MAX_CAUSE].decode(errors="replace"))


def page_title(text: str) -> str | None:
    """Returns a phrase for an HTML page, with its title or else its first words, or None if the text is no page."""
    beginning = text.lstrip()[:MAX_HEAD]
    if not _PAGE.match(beginning):
        return None
    title = _TITLE.search(beginning)
    words = " ".join((title.group(1) if title else _TAG.sub(" ", beginning)).split())
    return to_storable(f"an HTML page: {words}")[:MAX_CAUSE]


class AnswerTooLarge(ModelError):
    """The upstream sent more bytes than any answer has. Another attempt would not help."""

    def __init__(self, message: str) -> None:
        super().__init__("server_error", message)


class ToolsRefused(ModelError):
    """The upstream refuses tools for this model, before any event of the answer."""


class ModelStreamError(ModelError):
    """The upstream sent `error` inside a stream. `status` is the equivalent HTTP status, or None if unknown."""

    def __init__(self, error: object) -> None:
        self.error = error
        code = error.get("code") if isinstance(error, Mapping) else None
        if isinstance(code, str) and code.isascii() and code.isdigit():
            code = int(code)
        if isinstance(code, int) and not 400 <= code < 600:
            code = None  # a number of the server's own
        error_type = error.get("type") if isinstance(error, Mapping) else None
        if code is None and error_type in _INVALID_TYPES:
            code = 400
        is_rate_limit = code in (429, "rate_limit_exceeded") or error_type in (
            "rate_limit_error",
            "rate_limit_exceeded",
        )
        self.status = 429 if is_rate_limit else code if isinstance(code, int) else None
        is_invalid = self.status in _INVALID_STATUSES
        super().__init__(
            "rate_limit_exceeded" if is_rate_limit else "invalid_prompt" if is_invalid else "server_error",
            f"The model server broke off its answer: {cause_of(error)}",
        )


def response_error(status: int, body: object) -> ModelError:
    """Returns the error for a response with this status; `body` is its JSON, its text or None."""
    words = cause_of(body) if body else "no further words"
    if status == 429:
        return ModelError("rate_limit_exceeded", f"The model server's rate limit is exceeded (429): {words}")
    if status in (401, 403):
        return ModelError("server_error", f"The model server refuses this server's API key ({status}): {words}")
    is_invalid = status in _INVALID_STATUSES and _code_of(body) != _UNKNOWN_MODEL
    return ModelError(
        "invalid_prompt" if is_invalid else "server_error",
        f"The model server refused the request ({status}): {words}"
        if status < 500
        else f"The model server failed ({status}): {words}",
    )


def is_retryable(status: int | None, body: object = None, should_retry: str | None = None) -> bool:
    """Whether the same request may succeed later. The header x-should-retry (`should_retry`) takes precedence."""
    if should_retry in ("true", "false"):
        return should_retry == "true"
    if status is None or status >= 500:
        return status != 501
    if _code_of(body) in _SAMPLING_FAILURES:
        return True
    return status in _RETRYABLE_STATUSES and _code_of(body) != _QUOTA_EXCEEDED


def _code_of(body: object) -> object:
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    return (inner.get("code") or inner.get("type")) if isinstance(inner, Mapping) else None
