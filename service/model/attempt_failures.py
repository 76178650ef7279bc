"""The failures of attempts at a model call, from answers of the upstream."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from service.model.base import ModelError
from service.model.errors import AnswerTooLarge, ModelStreamError, is_retryable, response_error
from service.model.http_client import RedirectError, StatusError
from service.model.refusals import read_refusal
from service.model.retry import AttemptFailure, retry_after

log = structlog.get_logger(__name__)


def timeout_failure(token: str, limit: float) -> AttemptFailure:
    """Returns a failure without retry: a server that is too slow is overloaded, and the time of the run passes."""
    error = ModelError("server_error", f"The model server gave no {token} within {limit:g} s.")
    return AttemptFailure(error, can_retry=False)


def status_failure(error: StatusError, now: Callable[[], datetime]) -> AttemptFailure:
    return AttemptFailure(
        response_error(error.status, error.body),
        can_retry=is_retryable(error.status, error.body, error.headers.get("x-should-retry")),
        after=retry_after(error.headers, now),
        refusal=read_refusal(error.status, error.body),
    )


def stream_failure(error: ModelError) -> AttemptFailure:
    if not isinstance(error, ModelStreamError):
        return AttemptFailure(error, can_retry=not isinstance(error, AnswerTooLarge))
    can_retry = is_retryable(error.status, error.error)
    return AttemptFailure(error, can_retry=can_retry, refusal=read_refusal(error.status, error.error))


def redirect_failure(error: RedirectError) -> AttemptFailure:
    log.warning("model_server_redirects", status=error.status, location=error.location)
    return AttemptFailure(ModelError("server_error", redirect_text(error)), can_retry=False)


def redirect_text(error: RedirectError) -> str:
    """Returns the text for clients, which do not see the address."""
    return f"The model server redirects to another address ({error.status}), which its base URL should name."
