"""Runs scenarios under the SDK of this Python, and prints the observations of each as one line of JSON.

    python main.py SDK NAME…

Base URL and key are in the environment, as for any program. A line is `{"name", "saw"}`, `{"name", "error"}`, or
`{"name"}` alone if this program does not have the scenario.
"""

import json
import sys
import traceback
from types import SimpleNamespace

import errors
import files
import objects
import runs
import streams
import surroundings
from openai import OpenAI

MODULES = (objects, runs, streams, files, errors, surroundings)


def perform(name, sdk):
    scenario = next((getattr(module, name) for module in MODULES if hasattr(module, name)), None)
    if scenario is None:
        return {}
    # The model server chooses its answer by the name of the model, so each scenario has answers of its own.
    ctx = SimpleNamespace(client=OpenAI(), model=f"{name}.{sdk}.", v1=sdk == "pypi-1.20.0")
    try:
        return {"saw": scenario(ctx)}
    except Exception:  # noqa: BLE001 whatever it is, it is told, and the next scenario runs
        return {"error": traceback.format_exc()}


sdk, *names = sys.argv[1:]
for name in names:
    print(json.dumps({"name": name, **perform(name, sdk)}), flush=True)
