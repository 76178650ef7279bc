"""The operations that are passed to a model upstream"""

from __future__ import annotations

from service.http import passthrough
from service.http.route import PASSED_BODY, UNVERSIONED, PassedBody, Route

_MODEL_REQUEST = PassedBody(
    {
        "type": "object",
        "required": ["model"],
        "properties": {"model": {"type": "string"}, "stream": {"type": "boolean"}},
        "additionalProperties": True,
    }
)

ROUTES = (
    Route(
        "GET", "/v1/models", passthrough.models, "List the models of the upstream", scope="read", versions=UNVERSIONED
    ),
    Route("GET", "/v1/models/{model:.+}", passthrough.model, "Retrieve a model", scope="read", versions=UNVERSIONED),
    Route(
        "DELETE",
        "/v1/models/{model:.+}",
        passthrough.delete_model,
        "Answers that the model does not exist",
        scope="full",
        versions=UNVERSIONED,
    ),
    Route(
        "POST",
        "/v1/chat/completions",
        passthrough.chat_completions,
        "Chat completions, by the model upstream as it is",
        scope="full",
        versions=UNVERSIONED,
        cost="tokens",
        body=_MODEL_REQUEST,
        limit=PASSED_BODY,
        can_stream=True,
    ),
    Route(
        "POST",
        "/v1/completions",
        passthrough.completions,
        "Completions, by the model upstream as it is",
        scope="full",
        versions=UNVERSIONED,
        cost="tokens",
        body=_MODEL_REQUEST,
        limit=PASSED_BODY,
        can_stream=True,
    ),
    Route(
        "POST",
        "/v1/embeddings",
        passthrough.embeddings,
        "Embeddings, by the model upstream as it is",
        scope="full",
        versions=UNVERSIONED,
        cost="tokens",
        body=_MODEL_REQUEST,
        limit=PASSED_BODY,
    ),
)
