"""From texts to vectors: MiniLM in a process of its own, or any OpenAI-compatible server."""
