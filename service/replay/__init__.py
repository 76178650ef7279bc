"""Replay: objects as they were, folded from the events of their streams. Nothing here locks a stream or changes it."""
