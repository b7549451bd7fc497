"""Folders of this machine in the words of errors: a client reads what is wrong with a file, and
not where the server keeps it.
"""

from __future__ import annotations

from pathlib import Path

from avatar_pipeline.actors.root import data_root
from avatar_pipeline.core.home import PROJECT, home_folder
from avatar_pipeline.pipeline.exports import exports_root


def without_own_paths(text: str) -> str:
    """Return the text with paths below the server's own folders (actors, exports, home, the
    project, the user's home) cut to what follows the folder's name: "jane/actor.yaml: ...".
    """
    roots: set[str] = set()
    for folder in (data_root(), exports_root()):
        roots.add(str(folder))
        if "://" not in str(folder):
            roots.add(str(Path(str(folder)).resolve()))
    for path in (home_folder(), PROJECT, Path.home()):
        roots |= {str(path), str(path.resolve())}
    for root in sorted((root.rstrip("/") for root in roots), key=len, reverse=True):
        if len(root) > 1:  # "/" is the home of some users
            text = text.replace(f"{root}/", "")
    return text
