"""Sandboxes for the tests of the component."""

from __future__ import annotations

import pytest

from service.sandbox.bubblewrap import SandboxLauncher
from service.sandbox.probe import SandboxProbe


@pytest.fixture
def probe(launcher: SandboxLauncher) -> SandboxProbe:
    """The means of confinement, in the test's own event loop."""
    return SandboxProbe()
