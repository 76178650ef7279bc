"""The reasons for which a command is refused. `service.http.errors` maps them to HTTP statuses."""

from __future__ import annotations


class DomainError(Exception):
    """Base of all refusals. `message` is sent to the client."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(DomainError):
    """The object does not exist, belongs to another project or parent, or was deleted."""

    param: str | None = None

    def __init__(self, noun: str, id: str) -> None:
        super().__init__(f"No {noun} found with id '{id}'.")


class FileNotFound(NotFound):
    """The file does not exist. The API words this in a way of its own (docs/behaviour.md, "Errors")."""

    param = "id"

    def __init__(self, id: str) -> None:
        DomainError.__init__(self, f"No such File object: {id}")


class StoreFileNotFound(NotFound):
    """The vector store does not have the file."""

    def __init__(self, store_id: str, file_id: str) -> None:
        DomainError.__init__(self, f"No file found with id '{file_id}' in vector store '{store_id}'.")


class Rejection(DomainError):
    """The command breaks a rule. `param` names the parameter at fault; `code` is the API's machine-readable reason."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class StaleClaim(DomainError):
    """An executor acted on a run that another one has claimed meanwhile, or that has ended. It must stop."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"The claim on run '{run_id}' is no longer held.")


class StaleJob(DomainError):
    """A process reported on a file that it no longer indexes: the file was removed, cancelled or taken over."""

    def __init__(self, store_id: str, file_id: str) -> None:
        super().__init__(f"The file '{file_id}' of '{store_id}' is not being indexed by this job any more.")


class Conflict(DomainError):
    """Other appends to the stream were faster in every one of a bounded number of attempts."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"'{stream_id}' is being changed by too many requests at once. Please try again.")
