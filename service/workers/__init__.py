"""Several server processes of one `everthread serve`: the parent that keeps them running, and their shared parts.

The parent holds what exists once: the lock of the data directory, the embedded Postgres and model, and the listening
sockets, which the workers inherit. `service.cli.start` runs it. Each worker is a whole server (`service.app.server`)
that is connected with its parent by a channel, of which it is a member (`membership`).
"""
