"""/audit/log: the newest checkpoint, tiles of hashes, and bundles of entries (https://c2sp.org/tlog-tiles).

Each epoch is a log of its own, at `/audit/log/epochs/<epoch>`, for good. The newest one is also at `/audit/log` itself.

Tiles hold hashes of salted data, so every key for audits may read them. Entries show the streams, actors and times of
all projects, so only keys for audits of all projects may read them. Entries never hold contents.
"""

from __future__ import annotations

from aiohttp import web

from service.audit.attestations import load_published
from service.audit.log_tree import (
    LatestCheckpoint,
    LogEpoch,
    load_entries,
    load_epoch,
    load_epochs,
    load_last_signed,
    load_latest,
    load_sizes,
    load_tile,
)
from service.audit.tiles import FULL_WIDTH, TilePlace, TileResource, encode_bundle, parse_path
from service.http.context import audited_project, connection
from service.http.errors import ApiError
from service.http.responses import answer
from sql.connection import Connection

_NEWEST = {"Cache-Control": "private, no-cache"}
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}


async def epochs(request: web.Request) -> web.Response:
    """Lists the epochs of the log, the oldest first. The index of an event is `first_index` plus its place."""
    async with connection(request) as db:
        found = await load_sizes(db)
    data = [
        {
            "object": "audit.log_epoch",
            "epoch": sized.epoch.epoch,
            "origin": sized.epoch.origin,
            "first_index": sized.epoch.first_index,
            "size": sized.size,
        }
        for sized in found
    ]
    return answer({"object": "list", "data": data})


async def checkpoint(request: web.Request) -> web.Response:
    """Answers 404 before the first checkpoint is signed. With witnesses, the checkpoint has their cosignatures."""
    async with connection(request) as db:
        note = await load_published(db, await load_latest(db))
    return _answer_checkpoint(note)


async def epoch_checkpoint(request: web.Request) -> web.Response:
    """Answers with the newest checkpoint of an epoch. Answers 404 if there is no such epoch, or no checkpoint of it."""
    async with connection(request) as db:
        epoch = await _load_named_epoch(request, db)
        latest = await load_latest(db)
        if latest.epoch == epoch.epoch:
            note = await load_published(db, latest)
        else:
            signed = await load_last_signed(db, epoch)
            note = None if signed is None else signed.note
    return _answer_checkpoint(note)


async def tile(request: web.Request) -> web.Response:
    """Answers 404 unless the log of the newest checkpoint has the tile.

    The next epoch has other tiles at this address, so caches ask each time.
    """
    resource = _parse_resource(request)
    async with connection(request) as db:
        epoch = await load_epoch(db)
        data = await _load_resource(db, epoch, await load_latest(db), resource)
    response = _answer_resource(data, resource)
    response.headers.update(_NEWEST)
    response.headers["Content-Location"] = f"/audit/log/epochs/{epoch.epoch}/{resource.path}"
    return response


async def epoch_tile(request: web.Request) -> web.Response:
    """Answers 404 unless the newest checkpoint of the epoch has the tile. It never changes."""
    resource = _parse_resource(request)
    async with connection(request) as db:
        epoch = await _load_named_epoch(request, db)
        data = await _load_resource(db, epoch, await load_last_signed(db, epoch), resource)
    response = _answer_resource(data, resource)
    response.headers.update(_IMMUTABLE)
    return response


async def _load_named_epoch(request: web.Request, db: Connection) -> LogEpoch:
    """Returns the epoch of the path. Raises ApiError if there is none."""
    number = request.match_info["epoch"]
    for epoch in await load_epochs(db):
        if str(epoch.epoch) == number:
            return epoch
    raise ApiError(404, f"The log has no epoch {number[:20]}.")


def _answer_checkpoint(note: str | None) -> web.Response:
    if note is None:
        raise ApiError(404, "No checkpoint of the log has been signed yet.")
    return web.Response(text=note, content_type="text/plain", charset="utf-8", headers=_NEWEST)


def _parse_resource(request: web.Request) -> TileResource:
    """Returns the resource of the path.

    Raises HTTPNotFound if no log has it, and ApiError if the key may not read it.
    """
    try:
        resource = parse_path(f"tile/{request.match_info['tile']}")
    except ValueError:
        raise web.HTTPNotFound from None
    if resource.level is None and audited_project(request) is not None:
        message = (
            "Entries of the audit log show all projects: this needs a key for the audit of all projects"
            " (everthread keys create --project all --scope audit)."
        )
        raise ApiError(403, message)
    return resource


async def _load_resource(
    db: Connection, epoch: LogEpoch, signed: LatestCheckpoint | None, resource: TileResource
) -> bytes:
    """Returns a tile or a bundle of the epoch's log in the checkpoint. Raises ApiError if that log does not have it."""
    if signed is None or signed.epoch != epoch.epoch or resource.end > signed.size:
        raise ApiError(404, f"The log has no {resource.path} yet.")
    if resource.level is None:
        begin = resource.number * FULL_WIDTH
        return encode_bundle(await load_entries(db, epoch, begin, begin + resource.width))
    return await load_tile(db, epoch, TilePlace(resource.level, resource.number), resource.width)


def _answer_resource(data: bytes, resource: TileResource) -> web.Response:
    response = web.Response(body=data, content_type="application/octet-stream")
    if resource.level is None:
        response.enable_compression()
    return response
