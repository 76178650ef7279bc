"""Read models: one a file, with how events change it and its queries. Written in the append's own transaction.

Each module has `project(db, batch)`, called with one append's events; readers take a connection and return the objects
of `events.objects`. Every read names the project, so that another project's object is not there.
"""
