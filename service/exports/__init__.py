"""Exports: a part of an installation as files that prove themselves, for another server, an archive or an auditor."""
