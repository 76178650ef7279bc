"""Loads the encodings, which takes a second of CPU time: processes that are forked from this one share them."""

from service.model.tokens import PATTERNS, process_tokens

for name in PATTERNS:
    process_tokens().count(name, "")
