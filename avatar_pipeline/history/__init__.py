"""The versions of an actor's assets over time: what changed, what an older one looked like, and how
to have it back.
"""
