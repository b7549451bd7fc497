"""The embedded model: its weights, its card, and the code that trains it."""
