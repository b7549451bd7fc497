#!/usr/bin/env bash
# Encoding one AV1 frame with SVT-AV1, as root on Linux, makes the calling thread a real-time one for good.
#
# av 18.1.0 (PyAV, with FFmpeg's libsvtav1: SVT-AV1 4.1.0). When its effective user is root, opening the encoder sets the thread that
# opens it to SCHED_FIFO with priority 99, and closing does not put it back. Threads and processes that it starts later inherit that. In
# a container, where a service that writes AVIF pictures or AV1 films usually is root, a worker so comes before everything else on the
# machine, and kernel threads too, from its first film on; on a machine of few cores other programs hardly run. libx264, libx265 and
# VP9 in the same build do nothing of the kind. Put the policy back with sched_setscheduler after opening the encoder, encode in a
# process of its own, or do not run as root.
# Exits 1 when the behaviour changes; as another user there is nothing to see.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "not root: nothing to see"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.1
"$folder/venv/bin/python" - <<'PYTHON'
import io
import os
import sys

import av
import numpy as np

NAMES = {os.SCHED_OTHER: "SCHED_OTHER", os.SCHED_FIFO: "SCHED_FIFO"}


def scheduling():
    return NAMES.get(os.sched_getscheduler(0), "?"), os.sched_getparam(0).sched_priority


def encode(codec):
    with av.open(io.BytesIO(), "w", format="mp4") as film:
        stream = film.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            film.mux(packet)


print(f"PyAV {av.__version__}: scheduling of this thread, before anything: {scheduling()}")
seen = []
for codec in ("libx264", "libx265", "libvpx-vp9", "libsvtav1"):
    encode(codec)
    seen.append(scheduling())
    print(f"  after one frame with {codec}: {seen[-1]}")
sys.exit(0 if seen == [("SCHED_OTHER", 0)] * 3 + [("SCHED_FIFO", 99)] else 1)
PYTHON
