"""The wire formats v1 and v2 of the API: parses requests, renders objects and server-sent events. Does no I/O.

`api.Wire` is the interface; `v1.WIRE` and `v2.WIRE` implement it. The header OpenAI-Beta chooses one of them.
"""
