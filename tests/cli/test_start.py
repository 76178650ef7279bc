"""The last step of the start, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from service.cli.start import GC_THRESHOLD

_PROGRAM = """
import gc
gc.disable()
import service.app.server
from service.cli.start import exempt_started_objects
exempt_started_objects()
assert gc.isenabled()
print(gc.get_freeze_count(), len(gc.get_objects()), gc.get_threshold()[0])
"""
_BUILT = """
import service.app.server
from events.envelope import Event
from service.wire.fields import NestedObject, RequestBody

def classes(base):
    for each in base.__subclasses__():
        yield each
        yield from classes(each)

for base in (Event, NestedObject, RequestBody):
    models = list(classes(base))
    assert len(models) > 20, base
    print(*(each.__name__ for each in models if each.__pydantic_complete__))
"""


def test_no_collection_of_garbage_visits_the_modules_of_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    exempt, visited, threshold = map(int, done.stdout.split())
    assert exempt > 50_000
    assert visited < 1_000
    assert threshold == GC_THRESHOLD


def test_a_start_builds_the_validators_only_of_classes_with_a_constant() -> None:
    done = subprocess.run([sys.executable, "-c", _BUILT], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"Usage", "Compound"}
