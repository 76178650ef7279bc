"""Erasure: after an object is deleted, its copies are removed and the data key of its stream is destroyed.

The events stay. Nobody can read their contents any more, and the log still verifies, since its leaves commit to them.
Every step can be repeated, so a process may die at any moment, and another one goes on.
"""
