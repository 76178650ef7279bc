"""Indexing as background work: assigning files to processes, attempts, upkeep, and the stores of attachments."""
