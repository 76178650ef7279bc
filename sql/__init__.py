"""The SQL of Everthread: `migrations/*.sql` and `queries/*.sql`, read through `importlib.resources.files("sql")`."""
