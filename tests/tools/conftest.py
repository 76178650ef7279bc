"""Sandboxes for the tests: real ones. Where this machine forbids them, what needs one says so and is skipped."""

from __future__ import annotations

import asyncio
import os

import pytest

from service.tools.sandbox.base import SandboxUnavailable
from service.tools.sandbox.confinement import Confinement
from service.tools.sandbox.jail import Jail


@pytest.fixture(scope="session")
def jail() -> Jail:
    """A jail that was tried. On CI a machine without one is a failure, not a reason to skip."""
    try:
        return asyncio.run(Confinement().confined())
    except SandboxUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture
def confinement(jail: Jail) -> Confinement:
    """A confinement of the test's own loop."""
    return Confinement()
