"""Draw assets/avatars/placeholder_face.jpg: `python scripts/draw_placeholder.py [FILE]`.

A portrait of nobody by the embedded model, 1024x1024, in place of an actor's own until there is
one. The same machine draws the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.content_credentials.xmp import with_source_type
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.imaging.images import encode_jpeg
from avatar_pipeline.tasks.template import placeholder

FILE = PROJECT / "assets" / "avatars" / "placeholder_face.jpg"
QUALITY = 90  # about 130 kB


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", type=Path, default=FILE, help="where to write it")
    file = parser.parse_args().file
    file.parent.mkdir(parents=True, exist_ok=True)
    jpeg = encode_jpeg(placeholder(open_session(get_preset("embedded"), "cpu")), QUALITY)
    # not signed: the same bytes each time
    write_atomic(UPath(file), with_source_type(jpeg, "trainedAlgorithmicMedia"))
    print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
