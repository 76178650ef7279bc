"""The people who are signed in to the console. Another way to sign in replaces only `SignIns`."""

from __future__ import annotations

from typing import Protocol

from projections.keys import ApiKey


class Identity(Protocol):
    """A person who is signed in. `expires_at` is in Unix seconds."""

    @property
    def key(self) -> ApiKey:
        """The API key whose project, scope and limits hold for the person's requests."""

    @property
    def session_id(self) -> str: ...

    @property
    def expires_at(self) -> int: ...


class SignIns(Protocol):
    """Finds the people who are signed in. `service.console.sessions.Sessions` is one."""

    async def find(self, cookie: str) -> Identity | None:
        """Returns the person whose browser sent this cookie; None if the session is forged or over."""
