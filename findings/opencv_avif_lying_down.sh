#!/usr/bin/env bash
# OpenCV shows an AVIF lying down: imread leaves out the container's rotation (irot, imir), which is no hint but part of the picture.
#
# opencv-python-headless 5.0.0.93, Pillow 13.0.0. Pillow writes orientation 6 into an AVIF as `irot`, the only place that counts there
# (ISO/IEC 23008-12: transformative properties are applied before the picture is shown), and browsers and Pillow show 40x60. cv2.imread
# turns JPEG, PNG and WebP by EXIF, but returns the AVIF as it is stored, 60x40, also with IMREAD_COLOR and without a warning.
# Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 opencv-python-headless==5.0.0.93
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import cv2
import numpy as np
import PIL
from PIL import Image, ImageOps

exif = Image.Exif()
exif[0x0112] = 6
found = {}
print(f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}: pictures stored as 60x40 that are to be shown as 40x60")
for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
    file = io.BytesIO()
    Image.new("RGB", (60, 40)).save(file, kind, exif=exif)
    if kind == "AVIF":
        assert b"irot" in file.getvalue()
    height, width = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR).shape[:2]
    found[kind] = ImageOps.exif_transpose(Image.open(file)).size, (width, height)
    print(f"  {kind:5}Pillow {found[kind][0]}, cv2 {found[kind][1]}")
upright = (40, 60)
sys.exit(0 if all(pair == (upright, upright if kind != "AVIF" else (60, 40)) for kind, pair in found.items()) else 1)
PYTHON
