"""Events, a log of them, and proofs about both, for tests of proofs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from events.leaves import NO_LEAF, Envelope, commit, encode_entry, hash_leaf, salt_content
from service.audit.checkpoint import render_witness_request
from service.audit.merkle import consistency_proof, inclusion_proof
from service.audit.proof_file import Evidence, InclusionProof
from tests.audit.logs import MemoryLog

JSON = '{"type":"message.added","text":"Grüße \u009b31m"}'.encode()
SALTS = [bytes([number]) * 32 for number in range(7)]


def stream_entries(count: int = 7) -> list[bytes]:
    """The entries of a stream's first events, each with the content JSON and a salt of its own."""
    entries, previous = [], NO_LEAF
    for version in range(1, count + 1):
        envelope = Envelope(
            algorithm=1 if version < 3 else 2,
            stream_id="thread_1",
            version=version,
            type="message.added",
            at=datetime(2026, 11, 28, 12, tzinfo=UTC) + timedelta(microseconds=version),
            project_id="proj_1",
            actor="key:key_1",
            request_id="req_1" if version % 2 else None,
            cause=None,
            client=bytes(32) if version == 4 else None,
            schema_version=1,
            software_version="0.2.0",
        )
        commitment = commit(salt_content(JSON, SALTS[version - 1]))
        entries.append(encode_entry(envelope, commitment, previous))
        previous = hash_leaf(envelope, commitment, previous)
    return entries


LOG = MemoryLog(stream_entries())


def event_proof(index: int, *, size: int | None = None, has_content: bool = True) -> str:
    size = LOG.size if size is None else size
    salt, json = (SALTS[index], JSON) if has_content else (None, None)
    evidence = Evidence(LOG.entries[index], salt, json)
    hashes = inclusion_proof(index, size, LOG.read)
    return str(InclusionProof(index, hashes, LOG.checkpoint(size), bytes(evidence)))


def growth_proof(old: int, new: int) -> str:
    return render_witness_request(old, consistency_proof(old, new, LOG.read), LOG.checkpoint(new))
