"""The HTTP surface: routes and handlers, keys, errors, SSE. Handlers never branch on the API's version: `Wire` does."""
