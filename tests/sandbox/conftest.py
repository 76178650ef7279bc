"""Sandboxes for the tests of the component."""

from __future__ import annotations

import pytest

from service.sandbox.bubblewrap import Jail
from service.sandbox.probe import Confinement


@pytest.fixture
def confinement(jail: Jail) -> Confinement:
    """A confinement of the test's own loop."""
    return Confinement()
