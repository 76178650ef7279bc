"""Renders GET /v1/organization/health: the state of each part of this process, and the remedy, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from events.objects import Json

HealthStatus = Literal["ok", "degraded", "unavailable"]
# The remedy for a problem of each part.
REMEDIES: Mapping[str, str] = {
    "database": "Check that Postgres runs and that EVERTHREAD_DATABASE_URL names it. Requests wait and then fail.",
    "model": "Check the model server, its address and its key: EVERTHREAD_MODEL_BASE_URL, EVERTHREAD_MODELS.",
    "disk": "Free room on the disk, or lower EVERTHREAD_MIN_FREE_DISK_MB. Files and events cannot be stored.",
    "upgrade": "A newer release is at work on this database: stop this process and start the newer release.",
    "code_interpreter": "Runs with code_interpreter fail. Run everthread sandbox check on this machine.",
    "file_parsing": "Files are parsed without a sandbox. Run everthread sandbox check on this machine.",
    "audit_log": "Events wait for their place in the audit log. See the log of the process for the reason.",
    "checkpoints": "No checkpoint is signed. Check the key of the log: EVERTHREAD_LOG_KEY and its neighbours.",
    "attestations": "A witness or time stamp authority fails. Check EVERTHREAD_WITNESSES and EVERTHREAD_TSA_URL.",
    "views": "Run everthread verify to see what differs from the log, and then everthread rebuild.",
    "view_generations": "The new shape of a view is not filled. See the log of the process for the reason.",
}
_OTHER = "See the log of the process."


def render_health(parts: Iterable[tuple[str, str | None, HealthStatus]]) -> Json:
    """Returns the parts by name, problem (None if there is none) and the status that the problem leads to."""
    rendered = [
        {
            "name": name,
            "status": "ok" if problem is None else status,
            "problem": problem,
            "remedy": None if problem is None else REMEDIES.get(name, _OTHER),
        }
        for name, problem, status in parts
    ]
    found = {part["status"] for part in rendered}
    worst = next((status for status in ("unavailable", "degraded") if status in found), "ok")
    return {"object": "organization.health", "status": worst, "parts": rendered}
