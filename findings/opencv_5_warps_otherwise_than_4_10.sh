#!/usr/bin/env bash
# The same picture and the same matrix give other pixels in cv2.warpAffine of OpenCV 5 than in 4.10.
#
# opencv-python-headless 5.0.0.93 against 4.10.0.84, which LivePortrait pins. A crop as it makes of a source picture (INTER_LINEAR, 8-bit
# RGB, slightly turned and reduced) differs in a good part of the values, by up to a few levels of 255, the more the finer the picture's
# detail. Replaying such a crop "to the pixel", and comparing digests of aligned faces across environments, needs the same version.
# cv2.resize gives the same bits in both.
# Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/warp.py" <<'PYTHON'
import sys

import cv2
import numpy as np

random = np.random.default_rng(0)
# a picture with detail at several sizes
picture = sum(
    cv2.resize(random.integers(0, most, (n, n, 3)).astype(np.float32), (768, 768), interpolation=cv2.INTER_CUBIC)
    for n, most in ((12, 64), (96, 64), (768, 160))
)
picture = np.clip(picture, 0, 255).astype(np.uint8)
if sys.argv[1] == "make":
    np.save(sys.argv[2] + "/picture.npy", picture)
picture = np.load(sys.argv[2] + "/picture.npy")
angle, scale = np.radians(3.0), 0.83
matrix = np.array([[np.cos(angle), -np.sin(angle), -40.3], [np.sin(angle), np.cos(angle), -61.7]]) * scale
np.save(f"{sys.argv[2]}/{sys.argv[3]}.npy", cv2.warpAffine(picture, matrix, (512, 512), flags=cv2.INTER_LINEAR))
np.save(f"{sys.argv[2]}/{sys.argv[3]}_resized.npy", cv2.resize(picture, (512, 512), interpolation=cv2.INTER_AREA))
print(cv2.__version__)
PYTHON
first=make
for version in 4.10.0.84 5.0.0.93; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "opencv-python-headless==$version" numpy==2.2.6
  "$folder/$version/bin/python" "$folder/warp.py" "$first" "$folder" "$version"
  first=use
done
"$folder/5.0.0.93/bin/python" - "$folder" <<'PYTHON'
import sys

import numpy as np

old, new = (np.load(f"{sys.argv[1]}/{version}.npy").astype(int) for version in ("4.10.0.84", "5.0.0.93"))
apart = np.abs(old - new)
share, most = float((apart > 0).mean()), int(apart.max())
print(f"warpAffine: {share:.1%} of the values differ, by up to {most} levels")
resized = [np.load(f"{sys.argv[1]}/{version}_resized.npy").astype(int) for version in ("4.10.0.84", "5.0.0.93")]
print(f"resize, INTER_AREA: {float((resized[0] != resized[1]).mean()):.1%} differ")
if share < 0.01 or most < 2 or (resized[0] != resized[1]).any():
    sys.exit("The behaviour has changed.")
PYTHON
