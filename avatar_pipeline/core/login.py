"""Who runs the program, by the name that the operating system gives."""

from __future__ import annotations

import getpass


def login_name() -> str:
    """Return the login name of the user who runs this; "unknown" where there is none, as in some
    containers.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
