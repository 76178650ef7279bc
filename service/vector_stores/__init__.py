"""Indexing as background work: who takes which file on, what becomes of it, and what is left behind."""
