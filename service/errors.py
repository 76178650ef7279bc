"""Errors that end a start or a command. Each message is one clear line for the person at the terminal."""

from __future__ import annotations


class StartupError(Exception):
    """The server cannot start. The message says why and, if there is a remedy, what to do. It holds no secret."""


class CommandError(Exception):
    """A command cannot be carried out. The message says why and, if there is a remedy, what to do."""
