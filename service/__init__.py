"""Everthread's server: the Assistants API over an event-sourced core."""
