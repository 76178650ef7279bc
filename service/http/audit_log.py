"""/audit/log: the newest checkpoint, tiles of hashes, and bundles of entries (https://c2sp.org/tlog-tiles).

Tiles hold hashes of salted data, so every key for audits may read them. Entries show the streams, actors and times of
all projects, so only keys for audits of all projects may read them. Entries never hold contents.
"""

from __future__ import annotations

from aiohttp import web

from events.installation import INSTALLATION_PROJECT
from service.audit.attestations import load_published
from service.audit.log_tree import load_entries, load_epoch, load_latest, load_tile
from service.audit.tiles import FULL_WIDTH, TilePlace, encode_bundle, parse_path
from service.http.context import KEY, connection
from service.http.errors import ApiError

_NEWEST = {"Cache-Control": "private, no-cache"}
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}


async def checkpoint(request: web.Request) -> web.Response:
    """Answers 404 before the first checkpoint is signed. With witnesses, the checkpoint has their cosignatures."""
    async with connection(request) as db:
        note = await load_published(db, await load_latest(db))
    if note is None:
        raise ApiError(404, "No checkpoint of the log has been signed yet.")
    return web.Response(text=note, content_type="text/plain", charset="utf-8", headers=_NEWEST)


async def tile(request: web.Request) -> web.Response:
    """Answers 404 unless the log of the newest checkpoint has the tile."""
    path = f"tile/{request.match_info['tile']}"
    try:
        resource = parse_path(path)
    except ValueError:
        raise web.HTTPNotFound from None
    if resource.level is None and request[KEY].project_id != INSTALLATION_PROJECT:
        message = (
            "Entries of the audit log show all projects: this needs a key for the audit of all projects"
            " (everthread keys create --project all --scope audit)."
        )
        raise ApiError(403, message)
    async with connection(request) as db:
        epoch, latest = await load_epoch(db), await load_latest(db)
        if latest.epoch != epoch.epoch or resource.end > latest.size:
            raise ApiError(404, f"The log has no {path} yet.")
        if resource.level is None:
            begin = resource.number * FULL_WIDTH
            data = encode_bundle(await load_entries(db, epoch, begin, begin + resource.width))
        else:
            data = await load_tile(db, epoch, TilePlace(resource.level, resource.number), resource.width)
    response = web.Response(body=data, content_type="application/octet-stream", headers=_IMMUTABLE)
    if resource.level is None:
        response.enable_compression()
    return response
