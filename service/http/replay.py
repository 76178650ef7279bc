"""/threads/{thread_id}/runs/{run_id}/replay"""

from __future__ import annotations

from aiohttp import web

from service.http.past import viewer
from service.http.responses import answer
from service.http.services import REPLAY
from service.wire.replay import parse_replay_query, render_replay_page


async def page(request: web.Request) -> web.Response:
    asked, info = parse_replay_query(request.query), request.match_info
    found = await request.app[REPLAY].read(
        viewer(request), info["thread_id"], info["run_id"], after=asked.after, limit=asked.limit
    )
    return answer(render_replay_page(found.items, more=found.more))
