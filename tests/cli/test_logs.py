"""Nothing secret reaches a log, whatever breaks: no local variable, no header, no body."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import orjson
import pytest
import structlog

from service.cli import logs

SECRET = "sk-never-in-a-log"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], force=True)


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_tracebacks_show_no_local_variables(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure()
    key = SECRET
    try:
        raise ValueError("broken") from KeyError(len(key))
    except ValueError:
        structlog.get_logger().exception("request_failed")
    said = stream.getvalue()
    assert "ValueError: broken" in said
    assert SECRET not in said


def test_what_libraries_log_is_a_line_of_ours_without_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure()
    try:
        raise ValueError(f"Authorization: {SECRET}")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    (line,) = stream.getvalue().splitlines()
    assert orjson.loads(line)["event"] == "Error handling request"
    assert orjson.loads(line)["error"] == "ValueError"
    assert SECRET not in line
