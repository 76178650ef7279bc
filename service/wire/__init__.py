"""The wire formats v1 and v2: requests in, objects and server-sent events out. Pure; the beta header picks a module."""
