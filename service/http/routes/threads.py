"""/v1/threads, with their messages and their streams"""

from __future__ import annotations

from service.http import messages, runs, thread_stream, threads, tokens, v1_files
from service.http.route import BOTH, MEDIUM_BODY, SMALL_BODY, V1, JsonBody, Route, SignedToken
from service.wire.access import StreamToken
from service.wire.messages import Message, MessageV1
from service.wire.requests import MetadataChange, Thread, ThreadAndRun, ThreadAndRunV1, ThreadChange, ThreadV1

_THREAD = "/v1/threads/{thread_id}"
_MESSAGE = _THREAD + "/messages/{message_id}"

ROUTES = (
    Route(
        "GET",
        "/v1/threads",
        threads.page,
        "List threads",
        scope="read",
        versions=BOTH,
        query=("page", "filters"),
        answer="ThreadList",
    ),
    Route(
        "POST",
        "/v1/threads",
        threads.create,
        "Create a thread",
        scope="full",
        versions=BOTH,
        body=JsonBody(Thread, ThreadV1),
        answer="Thread",
    ),
    Route(
        "POST",
        "/v1/threads/runs",
        runs.create_thread_and_run,
        "Create a thread and run it",
        scope="full",
        versions=BOTH,
        cost="tokens",
        body=JsonBody(ThreadAndRun, ThreadAndRunV1),
        answer="Run",
        can_stream=True,
    ),
    Route("GET", _THREAD, threads.get, "Retrieve a thread", scope="read", versions=BOTH, answer="Thread"),
    Route(
        "POST",
        _THREAD,
        threads.modify,
        "Modify a thread",
        scope="full",
        versions=BOTH,
        body=JsonBody(ThreadChange, MetadataChange),
        limit=MEDIUM_BODY,
        answer="Thread",
    ),
    Route("DELETE", _THREAD, threads.delete, "Delete a thread", scope="full", versions=BOTH, answer="DeletedThread"),
    Route(
        "POST",
        _THREAD + "/stream_tokens",
        tokens.stream_token,
        "Make a token for a thread's streams, for EventSource",
        scope="full",
        versions=BOTH,
        body=JsonBody.same(StreamToken),
        limit=SMALL_BODY,
        answer="StreamToken",
    ),
    Route(
        "GET",
        _THREAD + "/stream",
        thread_stream.stream,
        "Watch a thread's runs as server-sent events, with a key or a token",
        scope="read",
        versions=BOTH,
        access=SignedToken("stream", "thread_id"),
        query=("last_event_id",),
        media="text/event-stream",
    ),
    Route(
        "GET",
        _THREAD + "/messages",
        messages.page,
        "List a thread's messages",
        scope="read",
        versions=BOTH,
        query=("page", "run_id"),
        answer="MessageList",
    ),
    Route(
        "POST",
        _THREAD + "/messages",
        messages.create,
        "Add a message to a thread",
        scope="full",
        versions=BOTH,
        body=JsonBody(Message, MessageV1),
        answer="Message",
        can_queue=True,
    ),
    Route("GET", _MESSAGE, messages.get, "Retrieve a message", scope="read", versions=BOTH, answer="Message"),
    Route(
        "POST",
        _MESSAGE,
        messages.modify,
        "Modify a message's metadata",
        scope="full",
        versions=BOTH,
        body=JsonBody.same(MetadataChange),
        limit=SMALL_BODY,
        answer="Message",
    ),
    Route(
        "DELETE", _MESSAGE, messages.delete, "Delete a message", scope="full", versions=BOTH, answer="DeletedMessage"
    ),
    Route(
        "GET",
        _MESSAGE + "/files",
        v1_files.message_page,
        "List a message's files",
        scope="read",
        versions=V1,
        query=("page",),
        answer="MessageFileList",
    ),
    Route(
        "GET",
        _MESSAGE + "/files/{file_id}",
        v1_files.message_file,
        "Retrieve a message's file",
        scope="read",
        versions=V1,
        answer="MessageFile",
    ),
)
