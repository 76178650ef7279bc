"""The type of the connections that queries run on."""

from __future__ import annotations

from typing import Any, TypeAlias

import asyncpg

# Quoted: asyncpg's classes take parameters only in their stubs.
Connection: TypeAlias = "asyncpg.Connection[Any]"
