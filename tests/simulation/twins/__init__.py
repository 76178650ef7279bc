"""The twins of the queries that the simulated parts of the service send. `tests/simulation/test_twins.py` compares them
with Postgres.
"""

from __future__ import annotations

from tests.simulation.twins import idempotency, log, stores, threads, webhooks
from tests.simulation.twins.registry import NAMES, QUERIES, TwinMissing

__all__ = ["NAMES", "QUERIES", "TwinMissing", "idempotency", "log", "stores", "threads", "webhooks"]
