"""The HTTP service: seven dialects, a job resource of its own, one queue, and one worker that holds
the models.
"""
