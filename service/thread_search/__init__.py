"""Finding threads by the words of their messages."""
