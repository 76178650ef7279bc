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
