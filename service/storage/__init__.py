"""Where the bytes of files lie: a local folder, or an object store."""
