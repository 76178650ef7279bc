"""The facts about the client of a request that the audit records."""

from __future__ import annotations

from aiohttp import web

from events.clients import ClientFacts

# Characters of each fact that are kept.
MAX_FACT = 256
# The header by which a program names its own user, as at the original's newer interfaces.
SAFETY_IDENTIFIER = "OpenAI-Safety-Identifier"


def client_facts(request: web.Request) -> ClientFacts:
    headers = request.headers
    return ClientFacts(
        address=request.remote,
        forwarded_for=_shorten(headers.get("X-Forwarded-For")),
        user_agent=_shorten(headers.get("User-Agent")),
        safety_identifier=_shorten(headers.get(SAFETY_IDENTIFIER)),
    )


def _shorten(sent: str | None) -> str | None:
    """Returns the fact in characters that JSON can hold, or None if the client did not send it."""
    return sent[:MAX_FACT].encode("utf-8", "backslashreplace").decode() if sent else None
