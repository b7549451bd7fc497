"""avatar_pipeline: from a description or photographs of a person to a validated, traceable
avatar.
"""

__version__ = "0.1.0"
