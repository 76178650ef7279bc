"""This process among the others on the same database: who is alive, what to take over, and the loops that do it."""
