"""The HTTP service: the five dialects of the seed documents, one job resource, one queue, one
worker that holds the models.
"""
