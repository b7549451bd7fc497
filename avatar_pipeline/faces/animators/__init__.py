"""What each animator does with a source picture: a table of profiles, and the geometry of its cut.

Everything here was read in the animators' own code; profiles.py names file, commit and date.
"""

from __future__ import annotations
