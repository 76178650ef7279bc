"""Our own OpenAPI document, made from what the server works with: its routes, its request models, what it renders."""
