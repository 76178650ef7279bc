"""The organization: its projects and their API keys."""
