"""The tests' demands on the machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

ON_CI = bool(os.environ.get("CI"))


def unavailable(reason: str) -> NoReturn:
    """Skips the test because the machine lacks something. On CI the test fails: scripts/test has set up everything."""
    if ON_CI:
        pytest.fail(f"{reason}, and on CI nothing may be missing")
    pytest.skip(reason)


def clean_environment() -> dict[str, str]:
    """Returns the environment without settings of a server, but with those of encrypted databases of tests."""
    kept = ("EVERTHREAD_ENCRYPTION", "EVERTHREAD_KEY")
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith("EVERTHREAD_")}
