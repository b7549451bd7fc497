"""The HTTP service: the dialects of five API documents (docs/reference/contracts.md) and its own,
one job resource, one queue, one worker that holds the models.
"""
