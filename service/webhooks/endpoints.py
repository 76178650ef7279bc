"""What people do with webhook endpoints, over HTTP and at the command line."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from events.envelope import JsonObject, Origin
from events.errors import NotFound, Rejection
from events.ids import IdSource
from events.streams import WEBHOOK_ENDPOINT
from events.webhook_endpoint import WEBHOOK_EVENTS, CreateEndpoint, DeleteEndpoint, ModifyEndpoint, RotateSecret
from projections import webhooks
from projections.webhooks import EndpointReport, Secrets
from service.webhooks import message
from service.webhooks.sender import Outcome, Sender, refused
from service.writer import Writer
from sql.connection import Connection

# Endpoints of one project: each event is told to each of them.
MAX_ENDPOINTS = 20
# Those that a list shows: more than may be made, for projects that older software let have more.
MAX_LISTED = 1000
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """`secret` is shown this once."""

    standing: EndpointReport
    secret: str = field(repr=False)


class Endpoints:
    """The endpoints of all projects; each operation is one project's."""

    def __init__(self, writer: Writer, sender: Sender) -> None:
        self._writer = writer
        self._sender = sender

    async def create(
        self,
        origin: Origin,
        url: str,
        *,
        ids: IdSource,
        events: list[str] | None = None,
        description: str | None = None,
    ) -> NewEndpoint:
        """An endpoint that hears of `events` (of all, where None) from now on. Raises Rejection.

        A repeated request (service.idempotency) gets the endpoint that its first try made, with the secret of that.
        """
        self._check(url)
        endpoint_id = ids.new("we")

        async def room(db: Connection) -> None:
            """Asked in the append's transaction: of those made at once, too, no more than fit."""
            if not await webhooks.has_room(db, origin.project_id, MAX_ENDPOINTS):
                raise Rejection(f"This project has {MAX_ENDPOINTS} webhook endpoints already, the most it may have.")

        first = await self._writer.repeated(WEBHOOK_ENDPOINT, origin, endpoint_id) is None
        async with self._writer.pool.acquire() as db:
            if first:
                await room(db)  # so that nothing is kept of what will be refused
            secret = await webhooks.prepare_secret(db, endpoint_id, new_secret())
        named = tuple(dict.fromkeys(events)) if events is not None else tuple(WEBHOOK_EVENTS.values())
        command = CreateEndpoint(url, description, named)
        await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, command, room)
        return NewEndpoint(await self.get(origin, endpoint_id), secret)

    async def modify(self, origin: Origin, endpoint_id: str, changes: JsonObject) -> EndpointReport:
        """`changes` as in WebhookEndpointModified. Raises NotFound, Rejection.

        Whoever enables it has mended it: failures before that count no more.
        """
        if "url" in changes:
            self._check(changes["url"])

        async def afresh(db: Connection) -> None:
            if changes.get("status") == "enabled":
                await webhooks.forget_failures(db, endpoint_id)

        await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, ModifyEndpoint(changes), afresh)
        return await self.get(origin, endpoint_id)

    async def rotate(self, origin: Origin, endpoint_id: str, previous_expires_in: int) -> Secrets:
        """A new secret; the old one stays good for so many seconds. Raises NotFound.

        A repeated request (service.idempotency) changes nothing, and gets the secret as it is.
        """

        async def renewed(db: Connection) -> None:
            """In the append's transaction, so that the log tells of every change and of none that was not made."""
            await webhooks.rotate_secret(db, endpoint_id, new_secret(), previous_expires_in)

        await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, RotateSecret(previous_expires_in), renewed)
        async with self._writer.pool.acquire() as db:
            found = await webhooks.load_secrets(db, endpoint_id)
        if found is None:
            raise NotFound("webhook_endpoint", endpoint_id)
        return found

    async def delete(self, origin: Origin, endpoint_id: str) -> None:
        """Raises NotFound."""
        await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, DeleteEndpoint())

    async def get(self, origin: Origin, endpoint_id: str) -> EndpointReport:
        """Raises NotFound."""
        async with self._writer.pool.acquire() as db:
            return await webhooks.get(db, origin.project_id, endpoint_id)

    async def every(self, origin: Origin) -> list[EndpointReport]:
        """The project's endpoints, the oldest first."""
        async with self._writer.pool.acquire() as db:
            return await webhooks.list_endpoints(db, origin.project_id, MAX_LISTED)

    async def test(self, origin: Origin, endpoint_id: str, *, ids: IdSource) -> Outcome:
        """Sends a message that tells of nothing, once and at once, disabled or not. Raises NotFound."""
        async with self._writer.pool.acquire() as db:
            endpoint = (await webhooks.get(db, origin.project_id, endpoint_id)).endpoint
            signing = await webhooks.load_secrets(db, endpoint_id)
        if signing is None:
            raise NotFound("webhook_endpoint", endpoint_id)
        id = ids.new_hex("evt")
        body = message.test_message(id, endpoint_id, self._writer.clock.now())
        return await self._sender.send(endpoint.url, signing.all, id, body)

    def _check(self, url: str) -> None:
        why_not = refused(url, allow_private=self._sender.allow_private)
        if why_not is not None:
            raise Rejection(f"Invalid 'url': {why_not}.", param="url", code="invalid_value")


def new_secret() -> str:
    """As Standard Webhooks writes them."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"
