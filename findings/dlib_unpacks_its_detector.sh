#!/usr/bin/env bash
# dlib.get_frontal_face_detector() takes a good part of a second in each process; the same detector, saved and loaded from a file, milliseconds.
#
# dlib-bin 20.0.1.post1 on Linux, x86-64. The filters lie in the library as base64 of an entropy-coded stream, and unpacking them costs 0.3 to
# 0.6 s of processor time at every call, a second one too. detector.save() writes 155,005 bytes; fhog_object_detector() reads them a hundred
# times as fast and finds the same boxes with the same scores (it saves to the same bytes). A process that looks at one picture spends more
# time on getting the detector than on detection.
# Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dlib-bin==20.0.1.post1 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import time
from pathlib import Path

import dlib

first, again = (Path(sys.argv[1]) / name for name in ("first.svm", "again.svm"))


def seconds(work):
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


made, detector = seconds(dlib.get_frontal_face_detector)
made_again, _ = seconds(dlib.get_frontal_face_detector)
detector.save(str(first))
loaded, copy = seconds(lambda: dlib.fhog_object_detector(str(first)))
copy.save(str(again))
same = first.read_bytes() == again.read_bytes()
print(f"dlib {dlib.__version__}: get_frontal_face_detector() {made:.3f} s, again {made_again:.3f} s")
print(f"  from its own file of {first.stat().st_size} bytes: {loaded:.4f} s, the same filters: {same}")
sys.exit(0 if same and min(made, made_again) > 20 * loaded else 1)
PYTHON
