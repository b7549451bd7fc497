"""Cutting a person out of the background: masks and mattes."""
