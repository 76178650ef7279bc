"""Forks of threads: new threads that begin with the history of another one."""
