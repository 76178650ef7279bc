"""What the document says of each operation beside what the code says of it: a summary, bodies, answers, parameters.

A route that is missing here is in the document all the same, with its path and its handler's own words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from service.wire import access, files, messages, requests, webhooks
from service.wire import vector_stores as stores

Model = type[BaseModel]
Query = Literal["page", "files", "run_id", "include", "filters", "last_event_id", "status", "content"]


@dataclass(frozen=True, slots=True)
class Operation:
    """`body` is v2's and v1's model; `answer` a name of `samples`, of JSON unless `media` says otherwise.

    `versions`: those of the API that have it; without any it needs no OpenAI-Beta header. `busy`: it takes the header
    Everthread-Busy. `token`: a token in the URL will do for a key.
    """

    summary: str
    answer: str | None = None
    body: tuple[Model | None, Model | None] = (None, None)
    query: tuple[Query, ...] = ()
    versions: tuple[Literal["v2", "v1"], ...] = ("v2", "v1")
    streams: bool = False
    media: str = "application/json"
    form: Model | None = None
    raw: dict[str, Any] | None = None
    open: bool = False
    busy: bool = False
    token: bool = False


def _same(model: Model) -> tuple[Model, Model]:
    return model, model


_CHANGE = _same(requests.MetadataChange)
_CHAT: dict[str, Any] = {
    "type": "object",
    "required": ["model"],
    "properties": {"model": {"type": "string"}, "stream": {"type": "boolean"}},
    "additionalProperties": True,
}
_V1: tuple[Literal["v2", "v1"], ...] = ("v1",)
_W = "/v1/webhook_endpoints"
_ONE_W = _W + "/{webhook_endpoint_id}"
_A, _T, _F, _U = "/v1/assistants", "/v1/threads", "/v1/files", "/v1/uploads"
_ONE_A, _ONE_T, _ONE_F, _ONE_U = _A + "/{assistant_id}", _T + "/{thread_id}", _F + "/{file_id}", _U + "/{upload_id}"
_S = "/v1/vector_stores"
_ONE_S = _S + "/{vector_store_id}"
_SF, _B = _ONE_S + "/files", _ONE_S + "/file_batches"
_ONE_SF, _ONE_B = _SF + "/{file_id}", _B + "/{batch_id}"
_M, _R = _ONE_T + "/messages", _ONE_T + "/runs"
_ONE_M, _ONE_R = _M + "/{message_id}", _R + "/{run_id}"

_V2: tuple[Literal["v2", "v1"], ...] = ("v2",)
STORES: dict[str, Operation] = {
    f"POST {_S}": Operation("Create a vector store", "VectorStore", (stores.NewStore, None), versions=_V2),
    f"GET {_S}": Operation("List vector stores", "VectorStoreList", query=("page",), versions=_V2),
    f"GET {_ONE_S}": Operation("Retrieve a vector store", "VectorStore", versions=_V2),
    f"POST {_ONE_S}": Operation("Modify a vector store", "VectorStore", (stores.StoreChange, None), versions=_V2),
    f"DELETE {_ONE_S}": Operation("Delete a vector store; its files stay", "DeletedVectorStore", versions=_V2),
    f"POST {_ONE_S}/search": Operation(
        "Search a vector store", "VectorStoreSearchResults", (stores.NewSearch, None), versions=_V2
    ),
    f"GET {_SF}": Operation(
        "List a vector store's files", "VectorStoreFileList", query=("page", "status"), versions=_V2
    ),
    f"POST {_SF}": Operation(
        "Add a file to a vector store", "VectorStoreFile", (stores.NewStoreFile, None), versions=_V2
    ),
    f"GET {_ONE_SF}": Operation("Retrieve a vector store's file", "VectorStoreFile", versions=_V2),
    f"POST {_ONE_SF}": Operation(
        "Change the attributes of a vector store's file",
        "VectorStoreFile",
        (stores.AttributesChange, None),
        versions=_V2,
    ),
    f"DELETE {_ONE_SF}": Operation(
        "Take a file out of a vector store; the file stays", "DeletedVectorStoreFile", versions=_V2
    ),
    f"GET {_ONE_SF}/content": Operation(
        "What a file was parsed to", "VectorStoreFileContent", query=("content",), versions=_V2
    ),
    f"POST {_B}": Operation(
        "Add files to a vector store together", "VectorStoreFileBatch", (stores.NewBatch, None), versions=_V2
    ),
    f"GET {_ONE_B}": Operation("Retrieve a file batch", "VectorStoreFileBatch", versions=_V2),
    f"POST {_ONE_B}/cancel": Operation("Cancel a file batch", "VectorStoreFileBatch", versions=_V2),
    f"GET {_ONE_B}/files": Operation(
        "List a file batch's files", "VectorStoreFileList", query=("page", "status"), versions=_V2
    ),
}

OPERATIONS: dict[str, Operation] = {
    f"POST {_A}": Operation("Create an assistant", "Assistant", (requests.Assistant, requests.AssistantV1)),
    f"GET {_A}": Operation("List assistants", "AssistantList", query=("page", "filters")),
    f"GET {_ONE_A}": Operation("Retrieve an assistant", "Assistant"),
    f"POST {_ONE_A}": Operation(
        "Modify an assistant", "Assistant", (requests.AssistantChange, requests.AssistantChangeV1)
    ),
    f"DELETE {_ONE_A}": Operation("Delete an assistant", "DeletedAssistant"),
    f"GET {_ONE_A}/files": Operation("List an assistant's files", "AssistantFileList", query=("page",), versions=_V1),
    f"POST {_ONE_A}/files": Operation(
        "Attach a file to an assistant", "AssistantFile", (None, files.AttachedFile), versions=_V1
    ),
    f"GET {_ONE_A}/files/{{file_id}}": Operation("Retrieve an assistant's file", "AssistantFile", versions=_V1),
    f"DELETE {_ONE_A}/files/{{file_id}}": Operation(
        "Detach a file from an assistant; the file stays", "DeletedAssistantFile", versions=_V1
    ),
    f"GET {_T}": Operation("List threads", "ThreadList", query=("page", "filters")),
    f"POST {_T}": Operation("Create a thread", "Thread", (requests.Thread, requests.ThreadV1)),
    f"GET {_ONE_T}": Operation("Retrieve a thread", "Thread"),
    f"POST {_ONE_T}": Operation("Modify a thread", "Thread", (requests.ThreadChange, requests.MetadataChange)),
    f"DELETE {_ONE_T}": Operation("Delete a thread", "DeletedThread"),
    f"POST {_ONE_T}/stream_tokens": Operation(
        "Make a token for a thread's streams, for EventSource", "StreamToken", _same(access.StreamToken)
    ),
    f"GET {_ONE_T}/stream": Operation(
        "Watch a thread's runs as server-sent events, with a key or a token",
        media="text/event-stream",
        query=("last_event_id",),
        token=True,
    ),
    f"POST {_M}": Operation("Add a message to a thread", "Message", (messages.Message, messages.MessageV1), busy=True),
    f"GET {_M}": Operation("List a thread's messages", "MessageList", query=("page", "run_id")),
    f"GET {_ONE_M}": Operation("Retrieve a message", "Message"),
    f"POST {_ONE_M}": Operation("Modify a message's metadata", "Message", _CHANGE),
    f"DELETE {_ONE_M}": Operation("Delete a message", "DeletedMessage"),
    f"GET {_ONE_M}/files": Operation("List a message's files", "MessageFileList", query=("page",), versions=_V1),
    f"GET {_ONE_M}/files/{{file_id}}": Operation("Retrieve a message's file", "MessageFile", versions=_V1),
    f"POST {_T}/runs": Operation(
        "Create a thread and run it", "Run", (requests.ThreadAndRun, requests.ThreadAndRunV1), streams=True
    ),
    f"POST {_R}": Operation(
        "Run an assistant on a thread", "Run", (requests.Run, requests.RunV1), ("include",), streams=True, busy=True
    ),
    f"GET {_R}": Operation("List a thread's runs", "RunList", query=("page",)),
    f"GET {_ONE_R}": Operation("Retrieve a run", "Run"),
    f"POST {_ONE_R}": Operation("Modify a run's metadata", "Run", _CHANGE),
    f"POST {_ONE_R}/cancel": Operation("Cancel a run", "Run"),
    f"POST {_ONE_R}/submit_tool_outputs": Operation(
        "Submit the outputs of a run's tool calls", "Run", _same(requests.Outputs), streams=True
    ),
    f"GET {_ONE_R}/steps": Operation("List a run's steps", "RunStepList", query=("page", "include")),
    f"GET {_ONE_R}/steps/{{step_id}}": Operation("Retrieve a run's step", "RunStep", query=("include",)),
    f"POST {_F}": Operation("Upload a file", "File", versions=(), form=files.FileForm),
    f"GET {_F}": Operation("List files", "FileList", query=("files",), versions=()),
    f"GET {_ONE_F}": Operation("Retrieve a file", "File", versions=()),
    f"DELETE {_ONE_F}": Operation("Delete a file, everywhere", "DeletedFile", versions=()),
    f"GET {_ONE_F}/content": Operation(
        "A file's content, with a key or by a link", media="application/octet-stream", token=True, versions=()
    ),
    f"POST {_ONE_F}/links": Operation(
        "Make a link to a file's content, good for a while", "FileLink", _same(access.FileLink), versions=()
    ),
    f"POST {_U}": Operation("Begin an upload in parts", "Upload", _same(files.NewUpload), versions=()),
    f"POST {_ONE_U}/parts": Operation(
        "Add a part to an upload", "UploadPart", versions=(), raw={"data": {"type": "string", "format": "binary"}}
    ),
    f"POST {_ONE_U}/complete": Operation(
        "Make a file of an upload's parts", "Upload", _same(files.Completion), versions=()
    ),
    f"POST {_ONE_U}/cancel": Operation("Cancel an upload", "Upload", versions=()),
    **STORES,
    f"POST {_W}": Operation(
        "Make a webhook endpoint; its secret is shown this once",
        "NewWebhookEndpoint",
        _same(webhooks.NewWebhookEndpoint),
        versions=(),
    ),
    f"GET {_W}": Operation("List the project's webhook endpoints", "WebhookEndpointList", versions=()),
    f"GET {_ONE_W}": Operation("Retrieve a webhook endpoint", "WebhookEndpoint", versions=()),
    f"POST {_ONE_W}": Operation(
        "Modify a webhook endpoint, or enable it again",
        "WebhookEndpoint",
        _same(webhooks.WebhookEndpointChange),
        versions=(),
    ),
    f"DELETE {_ONE_W}": Operation("Delete a webhook endpoint", "DeletedWebhookEndpoint", versions=()),
    f"POST {_ONE_W}/rotate_secret": Operation(
        "Give a webhook endpoint a new secret; the old one stays good for a while",
        "WebhookEndpointSecret",
        _same(webhooks.SecretRotation),
        versions=(),
    ),
    f"POST {_ONE_W}/test": Operation(
        "Send a webhook.test message, once and at once", "WebhookEndpointTest", versions=()
    ),
    "GET /v1/models": Operation("List the models of the upstream", versions=()),
    "GET /v1/models/{model}": Operation("Retrieve a model", versions=()),
    **{
        f"POST /v1/{path}": Operation(
            f"{what}, by the model upstream as it is", versions=(), raw=_CHAT, streams=streams
        )
        for path, what, streams in (
            ("chat/completions", "Chat completions", True),
            ("completions", "Completions", True),
            ("embeddings", "Embeddings", False),
        )
    },
    "GET /healthz": Operation("Whether this process can serve", versions=(), open=True),
    "GET /metrics": Operation("Counts for Prometheus", versions=(), media="text/plain"),
    "GET /openapi.json": Operation("This document", versions=(), open=True),
    "GET /docs": Operation("This document as a page", versions=(), media="text/html", open=True),
}
