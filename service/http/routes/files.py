"""/v1/files and /v1/uploads. SDKs send no OpenAI-Beta for them."""

from __future__ import annotations

from service.http import files, tokens, uploads
from service.http.route import BOTH, MEDIUM_BODY, FormBody, JsonBody, Route, SignedToken
from service.wire.access import FileLink
from service.wire.files import PURPOSES, Completion, NewUpload

_FILE = "/v1/files/{file_id}"
_UPLOAD = "/v1/uploads/{upload_id}"

_BYTES = {"type": "string", "format": "binary"}
_FILE_FORM = FormBody(
    required={"file": _BYTES, "purpose": {"enum": list(PURPOSES)}},
    optional={f"expires_after[{name}]": {"type": "string"} for name in ("anchor", "seconds")},
)
_PART_FORM = FormBody(required={"data": _BYTES}, optional={})

ROUTES = (
    Route(
        "GET",
        "/v1/files",
        files.page,
        "List files",
        scope="read",
        versions=BOTH,
        beta_header="optional",
        query=("files",),
        answer="FileList",
    ),
    Route(
        "POST",
        "/v1/files",
        files.create,
        "Upload a file",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        body=_FILE_FORM,
        answer="File",
    ),
    Route(
        "GET", _FILE, files.get, "Retrieve a file", scope="read", versions=BOTH, beta_header="optional", answer="File"
    ),
    Route(
        "DELETE",
        _FILE,
        files.delete,
        "Delete a file, everywhere",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        answer="DeletedFile",
    ),
    Route(
        "GET",
        _FILE + "/content",
        files.content,
        "A file's content, with a key or by a link",
        scope="read",
        versions=BOTH,
        beta_header="optional",
        access=SignedToken("file", "file_id"),
        media="application/octet-stream",
    ),
    Route(
        "POST",
        _FILE + "/links",
        tokens.link,
        "Make a link to a file's content, good for a while",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        body=JsonBody.same(FileLink),
        answer="FileLink",
    ),
    Route(
        "POST",
        "/v1/uploads",
        uploads.create,
        "Begin an upload in parts",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        body=JsonBody.same(NewUpload),
        answer="Upload",
    ),
    Route(
        "POST",
        _UPLOAD + "/parts",
        uploads.add_part,
        "Add a part to an upload",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        body=_PART_FORM,
        answer="UploadPart",
    ),
    Route(
        "POST",
        _UPLOAD + "/complete",
        uploads.complete,
        "Make a file of an upload's parts",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        body=JsonBody.same(Completion),
        limit=MEDIUM_BODY,
        answer="Upload",
    ),
    Route(
        "POST",
        _UPLOAD + "/cancel",
        uploads.cancel,
        "Cancel an upload",
        scope="full",
        versions=BOTH,
        beta_header="optional",
        answer="Upload",
    ),
)
