"""Extracting the text of a file: `parser` runs in the server, `worker` in a confined process of its own."""
