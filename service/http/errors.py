"""Maps exceptions to statuses, with bodies in the API's shape: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import structlog
from aiohttp import web

from events.errors import Conflict, DomainError, NotFound, Rejection
from service.database import DATABASE_ERRORS, DatabaseBusy
from service.passthrough import PassthroughError
from service.replay.time_travel import ReplayBusy
from service.search.base import SearchFailure
from service.secrets.key_ring import KeyMissing
from service.storage.base import BlobMissing, StorageError
from service.storage.checked_read import BlobChanged
from sql.row_operations import OutdatedSoftware
from sql.seals import ContentErased

log = structlog.get_logger()

# The value of Retry-After in answers with status 503, in seconds.
RETRY_AFTER_S = "1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """A refusal that only HTTP has, for a key, a header or a body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = body(message, param=param, code=code, kind=kind or _kind(status))


def body(
    message: str, *, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def first_line(why: str) -> str:
    """Returns aiohttp's reason as a sentence, without the client's bytes, which are on its further lines."""
    return why.strip().partition("\n")[0].rstrip(" :.")[:200] + "."


def response(status: int, content: dict[str, Any]) -> web.Response:
    """Returns a JSON response. One with status 503 says when to try again (`suggest_retry`)."""
    made = web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
    suggest_retry(made)
    return made


def suggest_retry(response: web.StreamResponse) -> None:
    """Adds the header Retry-After to a response with status 503, unless it has one."""
    if response.status == 503:
        response.headers.setdefault("Retry-After", RETRY_AFTER_S)


@web.middleware
async def map_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Maps every exception. An unexpected one is logged with its traceback, and answered with status 500."""
    try:
        return await handler(request)
    except ApiError as error:
        refused = response(error.status, error.body)
        refused.headers.update(error.headers)
        return refused
    except Rejection as error:
        return response(400, body(error.message, param=error.param, code=error.code))
    except NotFound as error:
        return response(404, body(error.message, param=error.param))
    except Conflict as error:
        return response(503, body(error.message, kind="server_error"))
    except DomainError as error:
        return response(400, body(error.message))
    except web.HTTPRequestEntityTooLarge as error:
        return response(413, body(error.text or "The request body is too large."))
    except web.HTTPNotFound:
        return response(404, body(f"Invalid URL ({request.method} {request.path})", code="unknown_url"))
    except web.HTTPMethodNotAllowed as error:
        refused = response(405, body(f"Not allowed to {request.method} on {request.path}."))
        refused.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return refused
    except web.HTTPException as error:
        return response(error.status, body(error.reason or "The request cannot be served.", kind=_kind(error.status)))
    except PassthroughError as error:
        refused = response(error.status, {"error": dict(error.error)})
        refused.headers.update(error.headers)
        return refused
    except ReplayBusy:
        message = "Too many requests that read the past wait for their turn. Please try again."
        return response(503, body(message, kind="server_error"))
    except SearchFailure as error:
        return response(503, body(error.message, kind="server_error"))
    except BlobMissing as error:
        log.error("request_failed_by_missing_blob", key=str(error))
        return response(503, body("The bytes of this file are missing in the server's storage.", kind="server_error"))
    except BlobChanged as error:
        log.error("request_failed_by_changed_blob", key=str(error))
        return response(500, body("The bytes of this file were changed in the server's storage.", kind="server_error"))
    except StorageError as error:
        log.error("request_failed_by_storage", error=str(error))
        return response(503, body("The server's storage is not available. Please try again.", kind="server_error"))
    except DatabaseBusy as error:
        log.warning("request_refused", reason=str(error))
        return response(503, body(f"The server is busy: {error}. Please try again.", kind="server_error"))
    except ContentErased as error:
        return response(404, body(f"The contents of {error.stream_id} were erased.", code="erased"))
    except OutdatedSoftware:
        log.warning("request_refused", reason="newer software writes the views")
        message = "This server is being replaced by a newer version. Please try again."
        return response(503, body(message, kind="server_error"))
    except KeyMissing as error:
        log.error("request_failed_by_missing_key", key_id=error.key_id)
        message = "A key that this server needs is not available. Please try again."
        return response(503, body(message, kind="server_error"))
    except DATABASE_ERRORS as error:
        log.warning("request_failed_by_database", error=str(error) or type(error).__name__)
        message = f"The server's database is not available: {type(error).__name__}. Please try again."
        return response(503, body(message, kind="server_error"))
    except Exception:
        log.exception("request_failed")
        return response(500, body("The server had an error while processing your request.", kind="server_error"))


def _kind(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"
