"""The hosted tools over the files and vector stores of this server."""

from __future__ import annotations

from dataclasses import dataclass

from events.ids import IdSource
from service.access.storage_quota import StorageQuota
from service.sandbox.pool import SessionPool
from service.sandbox.probe import SandboxProbe
from service.search.base import Searcher
from service.storage.base import Blobs
from service.tool_adapters.code_files import CodeFiles, DeletedThreadListener
from service.tool_adapters.searched_stores import VectorStoreLookup
from service.tools.code_interpreter.tool import CodeInterpreter
from service.tools.file_search import FileSearch
from service.tools.registry import Tools
from service.writer import Writer


@dataclass(frozen=True, slots=True)
class ToolServices:
    """All hosted tools, and code_interpreter among them."""

    tools: Tools
    code: CodeInterpreter


def open_tools(
    writer: Writer,
    *,
    blobs: Blobs,
    searcher: Searcher,
    probe: SandboxProbe,
    sandboxes: SessionPool | None,
    max_output_bytes: int,
    quota: StorageQuota,
    ids: IdSource,
) -> ToolServices:
    """Returns the hosted tools. code_interpreter is off without `sandboxes`.

    `max_output_bytes` bounds the bytes of all files that one call of code_interpreter returns.
    """
    files = CodeFiles(writer, blobs, quota=quota, ids=ids)
    code = CodeInterpreter(files, probe, sandboxes, max_output_bytes=max_output_bytes)
    writer.feed.listen_to_threads(DeletedThreadListener(code))
    return ToolServices(Tools([code, FileSearch(searcher, VectorStoreLookup(writer))]), code)
