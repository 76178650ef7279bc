"""Sessions of the console: signed cookies of limited life, which work on any process, and links that begin one.

A cookie names its session and its API key, and is signed with the secrets of `service.access.signed_tokens`. It is good
until it expires, its key is revoked, or its person signs out. A link carries a token that is good for LINK_S seconds;
the stream of the session that it begins (`events.session`) has an id that follows from the link, so that it works once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from events import event_log
from events.clock import Clock
from events.envelope import Origin
from events.errors import NotFound, Rejection
from events.ids import IdSource
from events.session import CreateSession, EndSession, SignInMethod
from events.streams import SESSION
from projections.keys import ApiKey
from service.access.signed_tokens import Signer
from service.writer import Writer

SESSION_S = 12 * 3600
LINK_S = 600
# This time plus two queries is the longest that a process takes a session that has ended for a good one.
CACHE_S = 0.5
MAX_CACHED = 1_000
MAX_COOKIE = 1_200
# The version of a session's stream before it ends.
_BEGUN = 1
_VERSION = "v2"
_SESSION, _LINK = "sess", "link"


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A session that is good. `expires_at` is in Unix seconds."""

    session_id: str
    key: ApiKey
    expires_at: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that begins, and the cookie that its browser gets."""

    session: ConsoleSession
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _CachedSession:
    session: ConsoleSession
    until: float


class Sessions:
    """Begins, finds and ends sessions. `timer` returns seconds that never go backwards."""

    def __init__(
        self,
        writer: Writer,
        signer: Signer,
        *,
        clock: Clock,
        ids: IdSource,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._signer = signer
        self._clock = clock
        self._ids = ids
        self._timer = timer
        self._cached: dict[bytes, _CachedSession] = {}

    async def begin(self, key: ApiKey, origin: Origin) -> NewSession:
        """Begins a session with an API key that was sent."""
        return await self._begin(self._ids.new(_SESSION), key, "key", origin)

    async def make_link_token(self, key: ApiKey) -> str:
        """Returns a text that begins one session with the key, for `find_link_key` and `begin_with_link`."""
        link_id = self._ids.new(_LINK)
        token, _ = await self._signer.sign("link", link_id, key, _VERSION, LINK_S)
        return f"{link_id}:{token}"

    async def find_link_key(self, link: str) -> ApiKey | None:
        """Returns the API key of a link that is not forged and not too old, or None."""
        link_id, _, token = link.partition(":")
        grant = await self._signer.check("link", link_id, token)
        return None if grant is None else grant.key

    async def begin_with_link(self, link: str, key: ApiKey, origin: Origin) -> NewSession:
        """Begins the session of a link, whose key `find_link_key` returned. Raises Rejection if the link was used."""
        id = link.partition(":")[0].removeprefix(f"{_LINK}_")
        return await self._begin(f"{_SESSION}_{id}", key, "link", origin)

    async def find(self, cookie: str) -> ConsoleSession | None:
        """Returns the session of the cookie; None if it is forged, expired or ended, or if its key was revoked."""
        if len(cookie) > MAX_COOKIE:
            return None
        digest, now = sha256(cookie.encode(errors="surrogateescape")).digest(), self._timer()
        cached = self._cached.get(digest)
        if cached is not None and now < cached.until:
            return cached.session if cached.session.expires_at > self._clock.now().timestamp() else None
        self._cached.pop(digest, None)
        session_id, _, token = cookie.partition(":")
        grant = await self._signer.check("session", session_id, token)
        if grant is None or not await self._is_open(session_id):
            return None
        session = ConsoleSession(session_id, grant.key, grant.expires_at)
        if len(self._cached) >= MAX_CACHED:
            del self._cached[next(iter(self._cached))]
        self._cached[digest] = _CachedSession(session, now + CACHE_S)
        return session

    async def end(self, session_id: str, origin: Origin) -> None:
        """Ends the session, in this process at once and in all others within a second."""
        await self._writer.write(SESSION, origin, session_id, EndSession())
        self._cached.clear()

    async def _begin(self, session_id: str, key: ApiKey, method: SignInMethod, origin: Origin) -> NewSession:
        token, expires_at = await self._signer.sign("session", session_id, key, _VERSION, SESSION_S)
        try:
            await self._writer.write(SESSION, origin, session_id, CreateSession(method, expires_at))
        except NotFound:
            # Another project's key has used the link's id, which only a key that was renewed meanwhile can do.
            raise Rejection("This sign-in link was used already.", code="link_used") from None
        return NewSession(ConsoleSession(session_id, key, expires_at), f"{session_id}:{token}")

    async def _is_open(self, session_id: str) -> bool:
        async with self._writer.pool.acquire() as db:
            head = await event_log.head(db, session_id, SESSION)
        return head.version == _BEGUN
