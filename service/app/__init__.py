"""The composition root: starts the parts of the server in order, and stops them in reverse.

Nothing else calls the `lifespan` modules of the packages. Each of them starts and stops the part of its package.
"""
