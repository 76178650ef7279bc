"""The import of the package `openai`, which takes a third of a server's start, so that no module imports it at the top.

A started server imports it in a thread. A call that comes earlier waits for the same import, and the event loop goes
on. After `import_openai`, a function that needs the package imports it by an ordinary statement, which costs nothing.
"""

from __future__ import annotations

import asyncio
import importlib

# The package, and those that its HTTP client imports with the first request.
_PACKAGES = ("openai", "httpcore2", "truststore")
_is_loaded = False


async def import_openai() -> None:
    """Returns after `openai` has been imported. Raises ImportError if it is not installed."""
    global _is_loaded
    if not _is_loaded:
        for package in _PACKAGES:
            await asyncio.to_thread(importlib.import_module, package)
        _is_loaded = True
