"""Read models: each file has one, with the rows that events change and the queries. Written in the append's
transaction.

Each module has `project(db, batch)`, which is called with the events of one append. Queries take a connection and
return the objects of `events.objects`. Every query names the project, so objects of another project are not found.
"""
