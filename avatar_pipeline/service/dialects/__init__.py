"""The dialects: a module and an entry of registry.py for each HTTP API that the service speaks."""
