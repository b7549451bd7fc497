"""The boxes of other detectors beside our estimates of them, on openpeople's pictures.

    python benchmarks/detector_boxes.py pictures FOLDER
    python benchmarks/detector_boxes.py detect FOLDER
    python benchmarks/detector_boxes.py compare FOLDER

pictures writes 180 pictures into FOLDER. detect finds the faces with MediaPipe (detection and
mesh, mediapipe 0.10), in whatever environment has it (this project need not be in it), and writes
FOLDER/NAME.json. compare prints, for each kind of box, how far its edges lie from
faces/animators/boxes.py's estimate, in heights of the estimated box: median, and what 95 % of the
pictures stay within.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

EDGES = ("left", "top", "right", "bottom")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pictures", "detect", "compare"))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    if asked.what == "pictures":
        write_pictures(asked.folder)
    elif asked.what == "detect":
        for kind, boxes in by_mediapipe(sorted(asked.folder.glob("*.png"))).items():
            (asked.folder / f"{kind}.json").write_text(json.dumps(boxes))
            print(f"{kind}: {len(boxes)} faces")
    else:
        compare(asked.folder)


def write_pictures(folder: Path) -> None:
    """Studio portraits, selfies and emotion tiles."""
    from avatar_pipeline.core.openpeople import PEOPLE, asset_path, emotion_tiles

    folder.mkdir(parents=True, exist_ok=True)
    for person in PEOPLE:
        for kind in ("studio_portrait", "amateur_selfie"):
            image = Image.open(asset_path(person, kind)).convert("RGB")
            image.save(folder / f"{person}_{kind}.png")
        for emotion, tile in emotion_tiles(person).items():
            tile.save(folder / f"{person}_{emotion}.png")


def by_mediapipe(paths: list[Path]) -> dict[str, dict[str, list[float]]]:
    """SoulX-FlashHead's detection, and PersonaLive's mesh."""
    import mediapipe as mp

    detector = mp.solutions.face_detection.FaceDetection(
        model_selection=1, min_detection_confidence=0.0
    )
    mesh = mp.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1)
    found: dict[str, dict[str, list[float]]] = {"mediapipe_detection": {}, "mediapipe_mesh": {}}
    for path in paths:
        image = np.asarray(Image.open(path).convert("RGB"))
        height, width = image.shape[:2]
        if detections := detector.process(image).detections:
            box = detections[0].location_data.relative_bounding_box
            x, y = box.xmin * width, box.ymin * height
            edges = [x, y, x + box.width * width, y + box.height * height]
            found["mediapipe_detection"][path.name] = edges
        if faces := mesh.process(image).multi_face_landmarks:
            points = np.array([(p.x * width, p.y * height) for p in faces[0].landmark])
            low, high = points.min(axis=0), points.max(axis=0)
            found["mediapipe_mesh"][path.name] = [*map(float, low), *map(float, high)]
    return found


def compare(folder: Path) -> None:
    """Print the table."""
    from avatar_pipeline.faces.analyzers import get_analyzer
    from avatar_pipeline.faces.animators.boxes import mediapipe_box, mesh_box

    analyzer = get_analyzer("dlib")
    estimates: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted(folder.glob("*.png")):
        faces = analyzer.analyze(np.asarray(Image.open(path).convert("RGB")))
        if faces:
            points = faces[0].landmarks68
            estimates[path.name] = {
                "detection": np.array(mediapipe_box(points)),
                "mesh": np.array(mesh_box(points)),
            }
    print(f"| detector | faces | {' | '.join(f'{edge}: median, 95 %' for edge in EDGES)} |")
    print(f"|{'---|' * (2 + len(EDGES))}")
    for file in sorted(folder.glob("*.json")):
        boxes = json.loads(file.read_text())
        ours = file.stem.removeprefix("mediapipe_")
        both = [name for name in boxes if name in estimates]
        apart = np.array(
            [
                (np.array(boxes[name]) - estimates[name][ours])
                / (estimates[name][ours][3] - estimates[name][ours][1])
                for name in both
            ]
        )
        cells = [
            f"{np.median(apart[:, k]):+.2f}, {np.percentile(np.abs(apart[:, k]), 95):.2f}"
            for k in range(4)
        ]
        print(f"| {file.stem} | {len(both)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())
