"""Consent: its record, how it is granted, and the receipt of a revocation."""
