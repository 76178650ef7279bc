"""Work under a claim on a run ends with the claim."""

from __future__ import annotations

from time import time

import pytest

from events.errors import NotFound
from events.thread.commands import DeleteThread
from service.database import Pool
from service.runs.claim import HeldClaim
from tests.events.thread.story import claim, run
from tests.projections.helpers import ORIGIN, make_thread, writer


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_work_that_fails_since_its_thread_was_deleted_has_lost_its_claim(pool: Pool, is_deleted: bool) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "Hi")
    started = await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    assert started.state.run is not None
    held = HeldClaim(write, "thread_1", started.state.run.id, started.state.run.epoch)

    async def work() -> None:
        if is_deleted:
            await write.thread(ORIGIN, "thread_1", DeleteThread())
        raise NotFound("thread", "thread_1")

    if is_deleted:
        assert await held.supervise(work(), int(time()) + 60) == "claim_lost"
    else:
        with pytest.raises(NotFound):
            await held.supervise(work(), int(time()) + 60)
