"""Webhooks: signed messages to other programs about events of runs, at least once each (docs/webhooks.md).

The statement that appends an event also writes the outbox, so there is a message for an event if and only if the event
was appended. The couriers of all processes deliver the messages of the outbox.
"""
