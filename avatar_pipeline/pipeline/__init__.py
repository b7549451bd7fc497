"""The pipeline in plain Python: one file per asset, named like it."""
