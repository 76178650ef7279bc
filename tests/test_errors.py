"""The causes of broken connections are described without names and addresses."""

from __future__ import annotations

import socket
import ssl

import pytest

from service.errors import describe_connection_error


def caused_by(cause: BaseException) -> Exception:
    error = RuntimeError("Cannot connect to host db.corp.example:5432")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('10.0.0.5', 5432)"), "connection refused"),
        (caused_by(ConnectionResetError(104, "x")), "connection reset by peer"),
        (caused_by(TimeoutError()), "it did not answer in time"),
        (caused_by(socket.gaierror(-2, "Name or service not known")), "its name cannot be resolved"),
        (ssl.SSLCertVerificationError("hostname mismatch: db.corp.example"), "its certificate is not valid"),
        (ssl.SSLError("wrong version"), "TLS failed"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed"),
            "connection refused",
        ),
        (caused_by(ValueError("db.corp.example")), "the connection broke (ValueError)"),
    ],
)
def test_causes(error: Exception, phrase: str) -> None:
    assert describe_connection_error(error) == phrase
