#!/usr/bin/env bash
# Pillow turns a picture by its XMP where OpenCV shows it as stored.
#
# Pillow 13.0.0, opencv-python-headless 5.0.0.93. Image.getexif() of a JPEG without EXIF answers with tiff:Orientation of its XMP packet
# as if EXIF held it, and so ImageOps.exif_transpose() turns the picture; cv2.imread, which honours EXIF, does not. Editors that turn the
# pixels and write XMP, and tools that strip EXIF only, leave such files: a data set that one program makes with Pillow and another reads
# with OpenCV has them lying on their side.
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

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def shown(**metadata):
    file = io.BytesIO()
    Image.new("RGB", (60, 40)).save(file, "JPEG", **metadata)
    by_pillow = ImageOps.exif_transpose(Image.open(file)).size
    height, width = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR).shape[:2]
    return by_pillow, (width, height)


exif = Image.Exif()
exif[0x0112] = 6
print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}: a picture stored as 60x40, orientation 6")
for name, metadata in (("in EXIF", {"exif": exif}), ("in XMP alone", {"xmp": XMP})):
    print(f"  {name:13}exif_transpose {shown(**metadata)[0]}, cv2 {shown(**metadata)[1]}")
sys.exit(0 if shown(exif=exif) == ((40, 60), (40, 60)) and shown(xmp=XMP) == ((40, 60), (60, 40)) else 1)
PYTHON
