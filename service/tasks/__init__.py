"""Background work as a context, and watchdogs over waits."""
