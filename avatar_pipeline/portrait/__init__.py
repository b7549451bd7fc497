"""A portrait for animators: a picture of a person framed, its border continued, checked."""

from __future__ import annotations
