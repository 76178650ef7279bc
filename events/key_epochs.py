"""Events of the installation's stream about the key-encryption keys of its database (docs/encryption.md)."""

from __future__ import annotations

from typing import Literal

from events.envelope import Event


class KeyEpochBegun(Event):
    """From here on, the key with the id `key_id` wraps the data keys. It is outside the database.

    A process that dies behind this event is followed by another one, which may append the event again.
    """

    type: Literal["key_epoch.begun"] = "key_epoch.begun"
    epoch: int
    key_id: str


class KeyEpochDestroyed(Event):
    """The key of an earlier epoch, by which nothing was wrapped any more, is destroyed: backups that need it cannot be
    read. If the operator keeps the keys, it was no longer among them. It may be appended again as the event before.
    """

    type: Literal["key_epoch.destroyed"] = "key_epoch.destroyed"
    epoch: int
    key_id: str


KeyEpochEvent = KeyEpochBegun | KeyEpochDestroyed
