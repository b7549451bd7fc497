"""Addresses that the bundled model's files name; the code is in diffusion/ and bundled_model/."""
