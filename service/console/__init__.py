"""The web console: its static files, and the sessions of people who signed in to it."""
