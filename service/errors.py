"""What stops a start-up or a command. Each message is one clear line for the person at the terminal."""

from __future__ import annotations


class StartupError(Exception):
    """The server cannot start; the message says why and, where it helps, what to do. It holds no secret."""


class CommandError(Exception):
    """A command cannot be carried out; the message says why and, where it helps, what to do."""
