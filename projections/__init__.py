"""Read models, one a file: how events change it, and its queries. They are updated in the transaction of the append.

Each module has `apply(db, batch)`, which is called with the events of one append. Readers take a connection and return
the objects of `events.objects`. Every read names the project, so that objects of other projects do not exist for it.
"""
