"""The address of the console that a start prints."""

from __future__ import annotations

from urllib.parse import urlsplit

from projections.keys import ApiKey
from service.console.sessions import Sessions
from service.http.hosts import is_loopback


async def make_console_url(sessions: Sessions, key: ApiKey, base_url: str) -> str:
    """Returns the URL of the console. If its host is loopback, it signs in with `key`, once and for LINK_S seconds."""
    url = f"{base_url.removesuffix('/v1')}/console"
    if not is_loopback(urlsplit(url).hostname or ""):
        return url
    return f"{url}#sign-in={await sessions.make_link_token(key)}"
