"""Consent as people handle it: grant, show, revoke. The record itself, and the question whether it
holds, are actors/consent/revoked.py's.
"""
