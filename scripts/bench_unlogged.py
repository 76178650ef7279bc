"""A server without the audit log, for `scripts/bench audit` alone: `python -m scripts.bench_unlogged serve …`.

It appends without the outbox (log_pending), hashes nothing, and neither sequences events nor signs checkpoints. Its
database cannot be verified. The product cannot be run like this.
"""

from __future__ import annotations

from typing import Any

from events import event_log, leaves
from events.leaves import Envelope
from projections import mixes
from service.audit.checkpoint_signer import CheckpointSigner
from service.audit.sequencer import Sequencer
from service.cli.__main__ import main
from service.system import RandomIds

_OUTBOX = "log_pending.insert"
_HASH, _SALT = bytes(32), bytes(leaves.SALT_BYTES)


def turn_off() -> None:
    """Replaces the parts of the log by ones that do nothing. Call it before the server starts."""
    append_operations = event_log.append_operations

    def without_outbox(*arguments: Any, **options: Any) -> list[Any]:
        return [operation for operation in append_operations(*arguments, **options) if operation.block != _OUTBOX]

    def no_commitment(content: bytes) -> bytes:
        return _HASH

    def no_leaf(envelope: Envelope, commitment: bytes, previous: bytes) -> bytes:
        return _HASH

    async def no_scan(self: Any) -> None:
        return None

    event_log.append_operations = without_outbox
    event_log.LOG_OPERATIONS -= 1
    event_log._envelope = lambda entry: None
    leaves.commit, leaves.hash_leaf = no_commitment, no_leaf
    RandomIds.new_salt = lambda self: _SALT
    mixes.MIXES = {
        kind: tuple(tuple(block for block in mix if block != _OUTBOX) for mix in found)
        for kind, found in mixes.MIXES.items()
    }
    Sequencer.scan = CheckpointSigner.scan = no_scan
    Sequencer.on_thread_append = Sequencer.on_store_append = lambda self, *arguments: None
    Sequencer.on_wake = lambda self, stream_id: None


if __name__ == "__main__":
    turn_off()
    main()
