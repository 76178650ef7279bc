"""Webhooks: telling other programs of what happens to runs, signed, at least once (docs/webhooks.md).

The outbox is written by the statement that appends an event, so that nothing is told that did not happen, and nothing
that happened is forgotten. Couriers of any process empty it.
"""
