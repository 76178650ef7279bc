"""Embedding models: an embedded one in a process of its own, or a model of any OpenAI-compatible server."""
