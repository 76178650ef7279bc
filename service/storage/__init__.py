"""Storage of the bytes of files: a local folder, or an object store."""
