"""Imports of objects that people saved from other servers of this API."""
