"""One partition per actor. The folders in the actor store are the source of truth; registration.py
adds their names here.
"""

from __future__ import annotations

import dagster as dg

ACTORS = dg.DynamicPartitionsDefinition(name="actors")
