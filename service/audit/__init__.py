"""The proof that no event was changed: the Merkle log over all events, signed checkpoints of it, and proofs.

The formats are those of C2SP (https://c2sp.org), so that existing tools read them.
"""
