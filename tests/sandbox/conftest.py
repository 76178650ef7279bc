"""Sandboxes for the tests of the component."""

from __future__ import annotations

import pytest

from service.sandbox.bubblewrap import Jail
from service.sandbox.probe import SandboxProbe


@pytest.fixture
def confinement(jail: Jail) -> SandboxProbe:
    """The means of confinement, in the test's own event loop."""
    return SandboxProbe()
