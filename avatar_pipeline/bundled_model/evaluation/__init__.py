"""Measures of the embedded model: one module for each row of the model card's table."""
