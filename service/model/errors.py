"""What went wrong at the upstream, in words that may be shown: bounded, one line, without keys.

Codes are those of a run's last_error. `rate_limit_exceeded`: the upstream's limits or its owner's quota (429).
`invalid_prompt`: the upstream refused what it was sent and would refuse it again, as a prompt beyond its context window
or a schema it does not take (400, 413, 422). `server_error`: all else, a wrong key or an unknown model name too, since
those are for the operator of this server to mend and not for the author of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from service.model.base import ModelError

MAX_CAUSE = 500  # characters of an upstream's own words in a ModelError
HIDDEN = "***"
MIN_KEY = 4  # characters: shorter "keys" (none, x) are placeholders that would blank out ordinary words

_KEYS = re.compile(r"(?i)\b(?:sk|pk|rk|gsk|xai|key)[-_][\w*.-]{6,}|(?<=bearer )[^\s'\",;]+|(?<=[?&]key=)[^\s&'\"]+")
_REFUSED = frozenset({400, 413, 422})
_RETRIED = frozenset({408, 409, 429})
_MODEL_UNKNOWN = "model_not_found"
_QUOTA_GONE = "insufficient_quota"  # a 429 that waiting does not mend


def clean(text: str) -> str:
    """NUL and lone surrogates, which Postgres text refuses, become U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def scrub(text: str, keys: Iterable[str] = ()) -> str:
    """`text` without these keys, and without whatever looks like one."""
    for key in keys:
        if len(key) >= MIN_KEY:
            text = text.replace(key, HIDDEN)
    return _KEYS.sub(HIDDEN, text)


def cause_of(error: object) -> str:
    """An upstream's error, in whichever of the usual shapes, as one bounded line."""
    found: object = error
    while isinstance(found, Mapping):
        found = next((found[key] for key in ("error", "message", "detail", "msg") if found.get(key)), None) or str(
            found
        )
    if isinstance(found, list) and found and isinstance(found[0], Mapping):
        return cause_of(found[0])
    return clean(" ".join(str(found).split()))[:MAX_CAUSE]


class StreamError(ModelError):
    """The upstream said `error` inside a stream. `status`: what it would have been as a response, where it said so."""

    def __init__(self, error: object) -> None:
        code = error.get("code") if isinstance(error, Mapping) else None
        kind = error.get("type") if isinstance(error, Mapping) else None
        limited = code in (429, "429", "rate_limit_exceeded") or kind in ("rate_limit_error", "rate_limit_exceeded")
        self.status = 429 if limited else code if isinstance(code, int) else None
        message = f"The model server broke off its answer: {cause_of(error)}"
        super().__init__(
            "rate_limit_exceeded" if limited else "invalid_prompt" if self.status in _REFUSED else "server_error",
            message,
        )


def refusal(status: int, body: object) -> ModelError:
    """The error for a response with this status, `body` being its JSON, its text or None."""
    words = cause_of(body) if body else "no further words"
    if status == 429:
        return ModelError("rate_limit_exceeded", f"The model server's rate limit is exceeded (429): {words}")
    if status in (401, 403):
        return ModelError("server_error", f"The model server refuses this server's API key ({status}): {words}")
    invalid = status in _REFUSED and _code_of(body) != _MODEL_UNKNOWN
    return ModelError(
        "invalid_prompt" if invalid else "server_error",
        f"The model server refused the request ({status}): {words}"
        if status < 500
        else f"The model server failed ({status}): {words}",
    )


def worth_retrying(status: int | None, body: object = None, said: str | None = None) -> bool:
    """Whether the same request may fare better. `said` is the header x-should-retry, which has the last word."""
    if said in ("true", "false"):
        return said == "true"
    if status is None or status >= 500:
        return status != 501
    return status in _RETRIED and _code_of(body) != _QUOTA_GONE


def _code_of(body: object) -> object:
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    return (inner.get("code") or inner.get("type")) if isinstance(inner, Mapping) else None
