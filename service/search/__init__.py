"""Parsing, chunking, embedding and searching, behind the Protocols of `base`; knows no events and no HTTP."""
