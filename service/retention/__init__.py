"""Retention: idle threads are deleted, and deleted threads are kept for their time, or as long as a hold covers them.

The eraser (`service.erasure`) destroys nothing that was not released here.
"""
