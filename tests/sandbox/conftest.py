"""Sandboxes for the tests of the component."""

from __future__ import annotations

import pytest

from service.sandbox.bubblewrap import Jail
from service.sandbox.probe import SandboxProbe


@pytest.fixture
def confinement(jail: Jail) -> SandboxProbe:
    """A confinement of the test's own loop."""
    return SandboxProbe()
