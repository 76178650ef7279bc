"""The key that checkpoints are signed with: the one that the log recorded last (the event `log_key.used`).

A process that starts with another key records it. From then on all processes with the old key sign nothing.
"""

from __future__ import annotations

from events import codec
from events.installation import INSTALLATION_ID, LogKeyUsed
from events.leaves import content_json
from service.audit.notes import VerifierKey
from sql import queries
from sql.connection import Connection

_SQL = queries("log_tree")


class KeyInUse:
    """The key in use, as of the last call of `update`.

    `version` is that of the installation's stream at that time: no key was recorded between the key and it.
    """

    def __init__(self) -> None:
        self.key: VerifierKey | None = None
        self.version = 0
        # The actor that recorded the key, such as process:1.
        self.actor: str | None = None

    async def update(self, db: Connection) -> None:
        """Reads the events of the installation since the last call."""
        row = await db.fetchrow(_SQL["key_in_use"], INSTALLATION_ID, self.version)
        if row is None:
            return
        self.version = row["head"]
        if row["content"] is None:
            return
        try:
            used = codec.load(content_json(row["content"]), row["schema_version"])
            if isinstance(used, LogKeyUsed):
                self.key, self.actor = VerifierKey.parse(used.verifier_key), row["actor"]
        except ValueError:  # the event was changed, which `everthread verify` reports
            return

    def is_other_than(self, public_key: bytes) -> bool:
        """Says if a key is recorded, and is not this one."""
        return self.key is not None and self.key.public_key != public_key
