"""Sandboxes for the tests of the component."""

from __future__ import annotations

import pytest

from service.tools.sandbox.confinement import Confinement
from service.tools.sandbox.jail import Jail


@pytest.fixture
def confinement(jail: Jail) -> Confinement:
    """A confinement of the test's own loop."""
    return Confinement()
