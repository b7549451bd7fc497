"""The API dialects: one module for each."""
