"""GET /v1/audit/events/{stream_id}/{version}/proof: the proof that one event is in the log, as a file.

It is the file that `everthread prove` writes, and `verify_proof.py` verifies it without this server.
"""

from __future__ import annotations

from aiohttp import web

from service.audit.audit_feed import AuditFilter, read_page
from service.audit.event_proofs import NoProof, prove_event
from service.audit.log_tree import load_index
from service.http.audit_feed import require_content_scope
from service.http.context import audited_project, connection
from service.http.errors import ApiError
from service.wire.audit import parse_proof_query
from sql.connection import Connection

_MEDIA = "text/plain"
_MAX_VERSION_DIGITS = 18


async def proof(request: web.Request) -> web.Response:
    """Answers with a `.tlog-proof`, with the event's salt and JSON if the query asks for them.

    Raises ApiError if the project of the key has no such event, or if no checkpoint covers it yet.
    """
    stream_id, text = request.match_info["stream_id"], request.match_info["version"]
    has_content = parse_proof_query(request.query)
    if has_content:
        require_content_scope(request)
    is_version = text.isascii() and text.isdigit() and len(text) <= _MAX_VERSION_DIGITS
    async with connection(request) as db:
        if not is_version or not await _is_audited(db, stream_id, int(text), audited_project(request)):
            raise ApiError(404, f"The log has no event '{stream_id[:100]}/{text[:20]}', or not yet.")
        try:
            found = await prove_event(db, stream_id, int(text), has_content=has_content)
        except NoProof as error:
            raise ApiError(409, f"There is no proof yet: {error}.", code="not_covered") from None
    name = f"{stream_id}-{text}.tlog-proof"
    return web.Response(
        text=str(found),
        content_type=_MEDIA,
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


async def _is_audited(db: Connection, stream_id: str, version: int, project_id: str | None) -> bool:
    """Says whether the log has the event, in the project whose audit the key may read; None stands for all."""
    index = await load_index(db, stream_id, version)
    if index is None:
        return False
    wanted = AuditFilter(stream_id=stream_id, project_id=project_id)
    page = await read_page(db, wanted, after=index - 1, limit=1)
    return any(event.log_index == index for event in page.events)
