"""Idempotency keys: a request that carries one has its effect once, however often and wherever it is sent.

Two mechanisms work together. The guarantee (`effects`): each append under a key records its effect in its own
transaction, and `Writer` returns the recorded events to a second try instead of appending again; the ids that a request
mints follow from the seed of its key. So at whatever moment a process dies, a second try finds either nothing done or
everything, and answers from that. The comfort (`keys`): a request claims its key, so that duplicates wait for it and
get the same answer. If the process that holds a claim dies, the next duplicate takes the claim over.

If a claim is taken over by mistake and two duplicates run at the same time, the guarantee still holds.
"""
