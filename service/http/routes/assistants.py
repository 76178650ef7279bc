"""/v1/assistants"""

from __future__ import annotations

from service.http import assistants, past, v1_files
from service.http.route import BOTH, LARGE_BODY, V1, V2, JsonBody, Route
from service.wire.assistant_versions import Restoration
from service.wire.files import AttachedFile
from service.wire.requests import Assistant, AssistantChange, AssistantChangeV1, AssistantV1

_ASSISTANT = "/v1/assistants/{assistant_id}"

ROUTES = (
    Route(
        "GET",
        "/v1/assistants",
        assistants.page,
        "List assistants",
        scope="read",
        versions=BOTH,
        query=("page", "filters"),
        answer="AssistantList",
        past=past.list_assistants,
    ),
    Route(
        "POST",
        "/v1/assistants",
        assistants.create,
        "Create an assistant",
        scope="full",
        versions=BOTH,
        body=JsonBody(Assistant, AssistantV1),
        limit=LARGE_BODY,
        answer="Assistant",
    ),
    Route(
        "GET",
        _ASSISTANT,
        assistants.get,
        "Retrieve an assistant",
        scope="read",
        versions=BOTH,
        answer="Assistant",
        past=past.get_assistant,
    ),
    Route(
        "POST",
        _ASSISTANT,
        assistants.modify,
        "Modify an assistant",
        scope="full",
        versions=BOTH,
        body=JsonBody(AssistantChange, AssistantChangeV1),
        limit=LARGE_BODY,
        answer="Assistant",
    ),
    Route(
        "DELETE",
        _ASSISTANT,
        assistants.delete,
        "Delete an assistant",
        scope="full",
        versions=BOTH,
        answer="DeletedAssistant",
    ),
    Route(
        "GET",
        _ASSISTANT + "/versions",
        assistants.versions,
        "List the versions of an assistant, the newest first",
        scope="read",
        versions=BOTH,
        query=("versions",),
        answer="AssistantVersions",
    ),
    Route(
        "POST",
        _ASSISTANT + "/restore",
        assistants.restore,
        "Give an assistant the settings of an earlier version",
        scope="full",
        versions=V2,
        body=JsonBody(Restoration, None),
        answer="Assistant",
    ),
    Route(
        "GET",
        _ASSISTANT + "/files",
        v1_files.assistant_page,
        "List an assistant's files",
        scope="read",
        versions=V1,
        query=("page",),
        answer="AssistantFileList",
    ),
    Route(
        "POST",
        _ASSISTANT + "/files",
        v1_files.attach,
        "Attach a file to an assistant",
        scope="full",
        versions=V1,
        body=JsonBody(None, AttachedFile),
        answer="AssistantFile",
    ),
    Route(
        "GET",
        _ASSISTANT + "/files/{file_id}",
        v1_files.assistant_file,
        "Retrieve an assistant's file",
        scope="read",
        versions=V1,
        answer="AssistantFile",
    ),
    Route(
        "DELETE",
        _ASSISTANT + "/files/{file_id}",
        v1_files.detach,
        "Detach a file from an assistant; the file stays",
        scope="full",
        versions=V1,
        answer="DeletedAssistantFile",
    ),
)
