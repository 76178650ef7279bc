"""The texts of unexpected errors, for clients."""

from __future__ import annotations

from service.database import DATABASE_ERRORS
from service.storage.base import StorageError

# Errors whose texts may name hosts of the network behind the server.
_NAMING_HOSTS = (StorageError, *DATABASE_ERRORS)


def describe_failure(error: Exception) -> str:
    """Returns the type of the error and its text. Without the text if that may name a host; the log holds it."""
    name = type(error).__name__
    return name if isinstance(error, _NAMING_HOSTS) else f"{name}: {error}"
