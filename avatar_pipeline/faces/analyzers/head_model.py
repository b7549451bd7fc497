"""Head pose from 68 landmarks: an average head, and how it must be turned to look like the face.

The camera is scaled-orthographic: angles are against the line of sight, as the face appears,
wherever in the picture it is. (A perspective fit of a few points with a guessed focal length reads
a level face near a picture's top as raised by 25 degrees.) The best affine map is fitted to all
points and its nearest rotation taken, so that a long or wide face does not read as tilted. Angles
are those of roll after yaw after pitch, as InsightFace's. Measured on the openpeople set: studio
portraits within 4 degrees in every angle; opening the mouth adds 1 degree of pitch. A head turned
by about 45 degrees reads 32 to 39; beyond that dlib's landmarks themselves are pulled towards a
frontal face.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.faces.analyzers.types import Pose

NOSE_TIP, LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 30, 36, 45

# For each of the 68 landmarks the one that it becomes in a mirrored picture.
MIRROR = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        27,
        28,
        29,
        30,
        35,
        34,
        33,
        32,
        31,
        45,
        44,
        43,
        42,
        47,
        46,
        39,
        38,
        37,
        36,
        41,
        40,
        54,
        53,
        52,
        51,
        50,
        49,
        48,
        59,
        58,
        57,
        56,
        55,
        64,
        63,
        62,
        61,
        60,
        67,
        66,
        65,
    ]
)

# x right, y down, z away from the camera; the outer eye corners are 1 apart. Fitted by
# scripts/fit_head_model.py.
HEAD = np.array(
    [
        (-0.780, -0.439, 0.637),
        (-0.770, -0.225, 0.627),
        (-0.740, -0.014, 0.630),
        (-0.702, 0.197, 0.625),
        (-0.635, 0.398, 0.555),
        (-0.525, 0.581, 0.435),
        (-0.381, 0.741, 0.292),
        (-0.206, 0.863, 0.148),
        (0.000, 0.897, 0.099),
        (0.206, 0.863, 0.148),
        (0.381, 0.741, 0.292),
        (0.525, 0.581, 0.435),
        (0.635, 0.398, 0.555),
        (0.702, 0.197, 0.625),
        (0.740, -0.014, 0.630),
        (0.770, -0.225, 0.627),
        (0.780, -0.439, 0.637),
        (-0.668, -0.563, 0.112),
        (-0.573, -0.673, -0.039),
        (-0.425, -0.705, -0.169),
        (-0.273, -0.681, -0.263),
        (-0.127, -0.618, -0.326),
        (0.127, -0.618, -0.326),
        (0.273, -0.681, -0.263),
        (0.425, -0.705, -0.169),
        (0.573, -0.673, -0.039),
        (0.668, -0.563, 0.112),
        (0.000, -0.463, -0.274),
        (0.000, -0.316, -0.333),
        (0.000, -0.169, -0.400),
        (0.000, -0.017, -0.469),
        (-0.163, 0.060, -0.259),
        (-0.085, 0.090, -0.292),
        (0.000, 0.119, -0.314),
        (0.085, 0.090, -0.292),
        (0.163, 0.060, -0.259),
        (-0.500, -0.430, 0.003),
        (-0.415, -0.480, -0.096),
        (-0.308, -0.479, -0.114),
        (-0.212, -0.417, -0.080),
        (-0.314, -0.396, -0.078),
        (-0.420, -0.394, -0.056),
        (0.212, -0.417, -0.080),
        (0.308, -0.479, -0.114),
        (0.415, -0.480, -0.096),
        (0.500, -0.430, 0.003),
        (0.420, -0.394, -0.056),
        (0.314, -0.396, -0.078),
        (-0.314, 0.331, 0.002),
        (-0.204, 0.270, -0.165),
        (-0.089, 0.239, -0.250),
        (0.000, 0.262, -0.260),
        (0.089, 0.239, -0.250),
        (0.204, 0.270, -0.165),
        (0.314, 0.331, 0.002),
        (0.209, 0.444, -0.083),
        (0.097, 0.497, -0.138),
        (0.000, 0.507, -0.146),
        (-0.097, 0.497, -0.138),
        (-0.209, 0.444, -0.083),
        (-0.262, 0.338, -0.023),
        (-0.091, 0.324, -0.222),
        (0.000, 0.333, -0.234),
        (0.091, 0.324, -0.222),
        (0.262, 0.338, -0.023),
        (0.092, 0.371, -0.161),
        (0.000, 0.383, -0.173),
        (-0.092, 0.371, -0.161),
    ]
)


def head_pose(landmarks: np.ndarray) -> Pose:
    """Return the pose in degrees of a face with 68 landmarks, (68, 2), pixels."""
    points = landmarks.astype(np.float64) - landmarks.mean(axis=0)
    affine = np.linalg.lstsq(HEAD, points, rcond=None)[0].T
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right  # the picture's x and y as the head's axes see them
    turn = np.vstack([rows, np.cross(rows[0], rows[1])])
    return Pose(
        pitch=float(-np.degrees(np.arctan2(turn[2, 1], turn[2, 2]))),
        yaw=float(np.degrees(np.arctan2(turn[2, 0], np.hypot(turn[0, 0], turn[1, 0])))),
        roll=float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))),
    )


def pose_axes(pose: Pose) -> np.ndarray:
    """Return the head's right, down and forward axes as columns of a (3, 3) matrix in picture axes:
    x right, y down, z away.
    """
    pitch, yaw, roll = np.radians([pose.pitch, pose.yaw, pose.roll])
    nod = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return np.asarray(tilt @ turn @ nod * (1, 1, -1))
