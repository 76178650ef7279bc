"""The failures of attempts at a model call, from answers of the upstream."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from service.model.base import ModelError
from service.model.errors import AnswerTooLarge, ModelStreamError, is_retryable, response_error
from service.model.refusals import read_refusal
from service.model.retry import AttemptFailure, retry_after

if TYPE_CHECKING:
    import httpx2
    import openai

log = structlog.get_logger(__name__)


def timeout_failure(token: str, limit: float) -> AttemptFailure:
    """Returns a failure without retry: a server that is too slow is overloaded, and the time of the run passes."""
    error = ModelError("server_error", f"The model server gave no {token} within {limit:g} s.")
    return AttemptFailure(error, can_retry=False)


def status_failure(error: openai.APIStatusError, now: Callable[[], datetime]) -> AttemptFailure:
    headers = error.response.headers
    body = error.body if error.body is not None else error.response.text
    return AttemptFailure(
        response_error(error.status_code, body),
        can_retry=is_retryable(error.status_code, body, headers.get("x-should-retry")),
        after=retry_after(headers, now),
        refusal=read_refusal(error.status_code, body),
    )


def stream_failure(error: ModelError) -> AttemptFailure:
    if not isinstance(error, ModelStreamError):
        return AttemptFailure(error, can_retry=not isinstance(error, AnswerTooLarge))
    can_retry = is_retryable(error.status)
    return AttemptFailure(error, can_retry=can_retry, refusal=read_refusal(error.status, error.error))


def check_redirect(response: httpx2.Response) -> None:
    """Raises AttemptFailure if the upstream redirected the call to another address, where it became a GET.

    Redirects that keep the method (307 and 308) are followed.
    """
    redirects = [*response.history, *([response] if response.is_redirect else ())]
    if (redirects and response.request.method != "POST") or response.is_redirect:
        first = redirects[0]
        log.warning("model_server_redirects", status=first.status_code, location=first.headers.get("location"))
        text = f"The model server redirects to another address ({first.status_code}), which its base URL should name."
        raise AttemptFailure(ModelError("server_error", text), can_retry=False)
