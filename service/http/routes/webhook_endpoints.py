"""/v1/webhook_endpoints, which the original does not have"""

from __future__ import annotations

from service.http import webhooks
from service.http.route import BOTH, JsonBody, Route
from service.wire.webhooks import NewWebhookEndpoint, SecretRotation, WebhookEndpointChange

_ENDPOINT = "/v1/webhook_endpoints/{webhook_endpoint_id}"

ROUTES = (
    Route(
        "GET",
        "/v1/webhook_endpoints",
        webhooks.page,
        "List the project's webhook endpoints",
        scope="read",
        versions=BOTH,
        beta_header="optional",
        answer="WebhookEndpointList",
    ),
    Route(
        "POST",
        "/v1/webhook_endpoints",
        webhooks.create,
        "Make a webhook endpoint; its secret is shown this once",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        body=JsonBody.same(NewWebhookEndpoint),
        answer="NewWebhookEndpoint",
    ),
    Route(
        "GET",
        _ENDPOINT,
        webhooks.get,
        "Retrieve a webhook endpoint",
        scope="read",
        versions=BOTH,
        beta_header="optional",
        answer="WebhookEndpoint",
    ),
    Route(
        "POST",
        _ENDPOINT,
        webhooks.modify,
        "Modify a webhook endpoint, or enable it again",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        body=JsonBody.same(WebhookEndpointChange),
        answer="WebhookEndpoint",
    ),
    Route(
        "DELETE",
        _ENDPOINT,
        webhooks.delete,
        "Delete a webhook endpoint",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        answer="DeletedWebhookEndpoint",
    ),
    Route(
        "POST",
        _ENDPOINT + "/rotate_secret",
        webhooks.rotate_secret,
        "Give a webhook endpoint a new secret; the old one stays good for a while",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        body=JsonBody.same(SecretRotation),
        answer="WebhookEndpointSecret",
    ),
    Route(
        "GET",
        _ENDPOINT + "/deliveries",
        webhooks.deliveries,
        "List the messages that wait for a webhook endpoint, the next ones first",
        scope="read",
        versions=BOTH,
        beta_header="optional",
        query=("deliveries",),
        answer="WebhookDeliveries",
    ),
    Route(
        "POST",
        _ENDPOINT + "/deliveries/retry",
        webhooks.retry,
        "Send the messages that an endpoint has not accepted at once, up to 1,000 for each request",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        answer="WebhookRetry",
    ),
    Route(
        "POST",
        _ENDPOINT + "/test",
        webhooks.send_test,
        "Send a webhook.test message, once and at once",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        answer="WebhookEndpointTest",
    ),
)
