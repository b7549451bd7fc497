"""The software-defined assets."""
