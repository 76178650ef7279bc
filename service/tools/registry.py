"""The hosted tools of this process, by type, and the tools of a run that are not available."""

from __future__ import annotations

from collections.abc import Iterable

from service.tools.base import CrashPolicy, HostedTool, Json

# Tools that clients carry out. Every other type is carried out by this server.
CLIENT_TOOLS = frozenset({"function"})


class Tools:
    def __init__(self, tools: Iterable[HostedTool] = ()) -> None:
        self._tools: dict[str, HostedTool] = {tool.type: tool for tool in tools}

    def __getitem__(self, kind: str) -> HostedTool:
        """Returns the tool. Raises KeyError for a type that `unavailable_reasons` names."""
        return self._tools[kind]

    def unavailable_reasons(self, asked: Iterable[Json]) -> list[str]:
        """Returns a sentence for each type among `asked` that is not available, in order."""
        kinds = dict.fromkeys(str(tool["type"]) for tool in asked)
        reasons = (self._unavailable_reason(kind) for kind in kinds if kind not in CLIENT_TOOLS)
        return [reason for reason in reasons if reason is not None]

    def after_crash(self, kind: str) -> CrashPolicy:
        """Returns the treatment of a call of this type whose process died. A type without a tool cannot be performed
        again.
        """
        return self._tools[kind].after_crash if kind in self._tools else "report"

    def _unavailable_reason(self, kind: str) -> str | None:
        tool = self._tools.get(kind)
        if tool is None:
            return (
                f"This Everthread server has no machinery for tools of type '{kind}' yet, so it cannot carry out this"
                " run."
            )
        return tool.unavailable_reason
