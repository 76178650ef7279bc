"""Samples of projects and their API keys."""

from __future__ import annotations

from datetime import UTC, datetime

from events.objects import Json
from service.wire import organization_projects as wire

_MOMENT = datetime.fromtimestamp(1, UTC)


def organization_samples() -> dict[str, list[Json]]:
    """Returns samples by name."""
    keys = [_key(1, _MOMENT), _key(None, None)]
    return {
        "Project": [wire.render_project("proj_1", "n", _MOMENT)],
        "ProjectApiKey": keys,
        "NewProjectApiKey": [wire.render_new_key(key, "et-") for key in keys],
        "DeletedProjectApiKey": [wire.render_deleted_key("key_1")],
    }


def _key(limit: int | None, at: datetime | None) -> Json:
    return wire.render_key(
        "key_1",
        name="n",
        scope="full",
        ending="wxyz",
        limits=dict.fromkeys(("requests_per_minute", "tokens_per_minute", "max_runs"), limit),
        created_at=_MOMENT,
        last_used_at=at,
        revoked_at=at,
    )
