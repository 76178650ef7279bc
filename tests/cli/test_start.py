"""The last step of the start, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from service.cli.start import GC_THRESHOLD

_PROGRAM = """
import gc
import service.app.server
from service.cli.start import exempt_started_objects
exempt_started_objects()
print(gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()[0])
"""


def test_no_collection_of_garbage_visits_the_modules_of_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    exempt, visited, threshold = map(int, done.stdout.split())
    assert exempt > 50_000
    assert visited < 1_000
    assert threshold == GC_THRESHOLD
