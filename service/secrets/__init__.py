"""Keys for the encryption at rest: the key-encryption keys outside the database, and the data keys of streams in it.

Text of clients is encrypted under the key of its stream (`sql.seals`). The key of a stream is in the table
`stream_keys`, wrapped by the key-encryption key of an epoch, which is never in the database or its backups.
"""
