"""Logs: structlog writes one JSON object a line to standard error, or readable lines if it is a terminal.

Request, thread and run ids come from context variables. Logs hold no content, which is in the events, and no key.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog


def configure(level: str = "info") -> None:
    """Configures logging for this process. `level` is debug, info, warning or error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_LibraryLogHandler()], level=logging.WARNING, force=True)


class _LibraryLogHandler(logging.Handler):
    """Writes the log records of libraries, without tracebacks: their text may quote a request's header or body."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        named = {"error": type(error).__name__} if error is not None else {}
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, **named)


def _renderers(terminal: bool) -> list[Any]:
    if terminal:
        # Tracebacks of rich would show local variables, and with them keys and content.
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, _json]


def _json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=str).decode()
