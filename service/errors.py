"""What stops a start-up. Each message is one clear line for the person at the terminal."""

from __future__ import annotations


class StartupError(Exception):
    """The server cannot start; the message says why and, where it helps, what to do. It holds no secret."""
