"""The operations on webhook endpoints, for HTTP and the command line."""

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
from projections.webhooks import EndpointReport, Secrets, WaitingDelivery
from service.webhooks import message
from service.webhooks.sender import DeliveryOutcome, Sender, url_problem
from service.writer import Writer
from sql.connection import Connection

# Endpoints of one project. Each event makes a message for each of them.
MAX_ENDPOINTS = 20
# Endpoints in a list: more than may be created, because older software allowed a project more.
MAX_LISTED = 1000
# Messages that one request lets be sent at once.
MAX_RETRIED = 1000
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """A new endpoint. `secret` is shown only in this answer."""

    report: EndpointReport
    secret: str = field(repr=False)


class Endpoints:
    """The endpoints of all projects. `origin` names the project of an operation."""

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
        """Creates an endpoint that gets messages about `events`, or about all types if that is None. Raises Rejection.

        A repeated request (service.idempotency) returns the endpoint of its first try, with the same secret.
        """
        self._check(url)
        endpoint_id = ids.new("we")

        async def check_room(db: Connection) -> None:
            """Raises Rejection if the project has MAX_ENDPOINTS. In the append's transaction, concurrent ones count."""
            if not await webhooks.has_room(db, origin.project_id, MAX_ENDPOINTS):
                raise Rejection(f"This project has {MAX_ENDPOINTS} webhook endpoints already, the most it may have.")

        first = await self._writer.find_repeat(WEBHOOK_ENDPOINT, origin, endpoint_id) is None
        async with self._writer.pool.acquire() as db:
            if first:
                await check_room(db)  # so that no secret is stored for an endpoint that is refused
            secret = await webhooks.prepare_secret(db, endpoint_id, new_secret())
        names = tuple(dict.fromkeys(events)) if events is not None else tuple(WEBHOOK_EVENTS.values())
        command = CreateEndpoint(url, description, names)
        await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, command, check_room)
        return NewEndpoint(await self.get(origin, endpoint_id), secret)

    async def modify(self, origin: Origin, endpoint_id: str, changes: JsonObject) -> EndpointReport:
        """Applies `changes`, whose fields are those of WebhookEndpointModified. Raises NotFound and Rejection.

        If it enables the endpoint, earlier failures do not count any more.
        """
        if "url" in changes:
            self._check(changes["url"])

        async def forget_failures(db: Connection) -> None:
            if changes.get("status") == "enabled":
                await webhooks.forget_failures(db, endpoint_id)

        await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, ModifyEndpoint(changes), forget_failures)
        return await self.get(origin, endpoint_id)

    async def rotate(self, origin: Origin, endpoint_id: str, previous_expires_in: int) -> Secrets:
        """Stores a new secret; the old one stays valid for `previous_expires_in` seconds. Raises NotFound.

        A repeated request (service.idempotency) changes nothing and returns the current secrets.
        """

        async def rotate_secret(db: Connection) -> None:
            """Runs in the append's transaction, so that the secret changes if and only if the event is appended."""
            await webhooks.rotate_secret(db, endpoint_id, new_secret(), previous_expires_in)

        await self._writer.write(
            WEBHOOK_ENDPOINT, origin, endpoint_id, RotateSecret(previous_expires_in), rotate_secret
        )
        async with self._writer.pool.acquire() as db:
            stored = await webhooks.load_secrets(db, endpoint_id)
        if stored is None:
            raise NotFound("webhook_endpoint", endpoint_id)
        return stored

    async def delete(self, origin: Origin, endpoint_id: str) -> None:
        """Deletes the endpoint. Raises NotFound."""
        await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, DeleteEndpoint())

    async def get(self, origin: Origin, endpoint_id: str) -> EndpointReport:
        """Returns the endpoint. Raises NotFound."""
        async with self._writer.pool.acquire() as db:
            return await webhooks.get(db, origin.project_id, endpoint_id)

    async def list_all(self, origin: Origin) -> list[EndpointReport]:
        """Returns the project's endpoints, oldest first."""
        async with self._writer.pool.acquire() as db:
            return await webhooks.list_endpoints(db, origin.project_id, MAX_LISTED)

    async def test(self, origin: Origin, endpoint_id: str, *, ids: IdSource) -> DeliveryOutcome:
        """Sends a test message at once, even if the endpoint is disabled. Makes one attempt. Raises NotFound."""
        async with self._writer.pool.acquire() as db:
            endpoint = (await webhooks.get(db, origin.project_id, endpoint_id)).endpoint
            signing = await webhooks.load_secrets(db, endpoint_id)
        if signing is None:
            raise NotFound("webhook_endpoint", endpoint_id)
        id = ids.new_hex("evt")
        body = message.test_message(id, endpoint_id, self._writer.clock.now())
        return await self._sender.send(endpoint.url, signing.all, id, body)

    async def deliveries(self, origin: Origin, endpoint_id: str, limit: int) -> list[WaitingDelivery]:
        """Returns messages that wait for the endpoint, the next ones first. Raises NotFound."""
        async with self._writer.pool.acquire() as db:
            await webhooks.get(db, origin.project_id, endpoint_id)
            return await webhooks.waiting_deliveries(db, endpoint_id, limit)

    async def retry(self, origin: Origin, endpoint_id: str) -> int:
        """Lets messages that were not accepted be sent at once, up to MAX_RETRIED. Returns their number. Raises
        NotFound, and Rejection if the endpoint is disabled.
        """
        async with self._writer.pool.acquire() as db, db.transaction():
            report = await webhooks.get(db, origin.project_id, endpoint_id)
            if report.endpoint.status != "enabled":
                raise Rejection("The endpoint is disabled: enable it first.", code="endpoint_disabled")
            return await webhooks.retry(db, endpoint_id, MAX_RETRIED)

    def _check(self, url: str) -> None:
        problem = url_problem(url, allow_private=self._sender.allow_private)
        if problem is not None:
            raise Rejection(f"Invalid 'url': {problem}.", param="url", code="invalid_value")


def new_secret() -> str:
    """Returns a random secret in the format of Standard Webhooks."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"
