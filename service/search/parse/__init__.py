"""From a file's bytes to its text: `parser` here, `child` in a confined process of its own."""
