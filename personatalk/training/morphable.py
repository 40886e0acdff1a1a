"""Makes the default morphable model: identity and expression bases on MediaPipe's mesh, from tracked clips.

Per clip the faces are aligned to the mean by a similarity over the parts that expression hardly moves. The clip's
neutral face is the mean of its frames with the mouth most closed, so that zero expression is a closed mouth at
rest. Principal components of the neutrals give the identity basis, those of the differences the expression basis,
with the lips weighted up, since they are few among 468 vertices and matter most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from ..errors import PersonaTalkError
from ..faces.follow import LargestFaceFollower
from ..faces.landmarks import open_tracker
from ..faces.shots import CutDetector
from ..geometry import mediapipe_mesh
from ..geometry.morphable_model import MorphableModel
from ..media.reader import VideoReader
from ..utils.arrays import IntArray
from .data.layouts import find_videos

Array = npt.NDArray[np.floating[Any]]

LIP_WEIGHT = 3.0
# Share of a clip's frames, those with the mouth most closed, whose mean is its neutral face.
NEUTRAL_SHARE = 0.25


def fit_morphable_model(clips: Iterable[Array], num_identity: int = 48, num_expression: int = 24) -> MorphableModel:
    """Fit a morphable model to tracked faces.

    Args:
        clips: Landmarks of one clip each, (T, 478, 3) in pixels, frames without a face left out.
        num_identity: Number of shape components.
        num_expression: Number of expression components.
    """
    raw = [clip[:, : mediapipe_mesh.NUM_VERTICES].astype(np.float64) for clip in clips]
    mean = mean_face(raw)
    index = mirror_index(mean)
    both = raw + [mirror(clip, index) for clip in raw]
    mean = (mean + mirror(mean[None], index)[0]) / 2
    aligned = [align_rigidly(clip, mean) for clip in both]
    neutrals = [neutral_face(clip) for clip in aligned]
    mean = np.mean(neutrals, axis=0)
    differences = np.concatenate([clip[::3] - rest for clip, rest in zip(aligned, neutrals, strict=True)])
    weight = np.ones(mediapipe_mesh.NUM_VERTICES)
    weight[list(mediapipe_mesh.LIP_VERTICES)] = LIP_WEIGHT
    identity = _components(np.stack(neutrals) - mean, np.ones_like(weight), num_identity)
    expression = _components(differences, weight, num_expression)
    return _assemble(mean, identity, expression)


def mirror(clip: Array, index: IntArray) -> Array:
    """Return the faces as in a mirror, vertices renamed by `index` (V,): (T, V, 3) to (T, V, 3)."""
    return clip[:, index] * np.array([-1, 1, 1])


def align_rigidly(clip: Array, mean: Array) -> Array:
    """Similarity-align every face (T, V, 3) to the mean (V, 3) over the rigid vertices."""
    rigid = list(mediapipe_mesh.RIGID_VERTICES)
    target = mean[rigid] - mean[rigid].mean(axis=0)
    centre = clip[:, rigid].mean(axis=1, keepdims=True)
    source = clip[:, rigid] - centre
    u, d, vt = np.linalg.svd(np.swapaxes(source, 1, 2) @ target)
    sign = np.ones((len(clip), 3))
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None]) @ vt
    scale = (d * sign).sum(axis=1) / (source**2).sum(axis=(1, 2))
    return ((clip - centre) @ rotation) * scale[:, None, None] + mean[rigid].mean(axis=0)


def neutral_face(aligned: Array) -> Array:
    """Return the mean of the frames with the mouth most closed: (T, V, 3) to (V, 3)."""
    upper, lower = mediapipe_mesh.INNER_LIP_PAIRS[0]
    gap = np.linalg.norm(aligned[:, upper] - aligned[:, lower], axis=-1)
    count = max(1, round(NEUTRAL_SHARE * len(gap)))
    return aligned[np.argsort(gap)[:count]].mean(axis=0)


def mean_face(clips: Sequence[npt.NDArray[np.floating[Any]]]) -> Array:
    """Return the mean of the clips' mean faces, upright: eyes level at y = 0, outer corners one unit apart."""
    mean = clips[0].mean(axis=0)
    for _ in range(4):
        mean = np.mean([align_rigidly(clip.mean(axis=0)[None], mean)[0] for clip in clips], axis=0)
        mean = _upright(mean)
    return mean


def _upright(face: Array) -> Array:
    left, right = face[mediapipe_mesh.OUTER_EYE_CORNERS[0]], face[mediapipe_mesh.OUTER_EYE_CORNERS[1]]
    across = (right - left) / np.linalg.norm(right - left)
    # Down runs from the eyes' middle to the middle between the mouth's corners, and the cheeks lie level in depth.
    down = face[list(mediapipe_mesh.MOUTH_CORNER_VERTICES)].mean(axis=0) - (left + right) / 2
    down -= across * (across @ down)
    down /= np.linalg.norm(down)
    axes = np.stack([across, down, np.cross(across, down)], axis=1)
    return (face - (left + right) / 2) @ axes / np.linalg.norm(right - left)


def mirror_index(mean: Array) -> IntArray:
    """Match each vertex of an upright mean face (V, 3) to the one on the other side, one to one."""
    other = mean * np.array([-1, 1, 1])
    distance = np.linalg.norm(other[:, None] - mean[None], axis=-1)
    return linear_sum_assignment(distance)[1]


def _components(samples: Array, weight: Array, count: int) -> Array:
    """Return the principal directions times their standard deviations, (V, 3, count), under per-vertex weights."""
    flat = (samples * weight[:, None]).reshape(len(samples), -1)
    covariance = flat.T @ flat / len(flat)
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][:count]
    basis = vectors[:, order] * np.sqrt(np.maximum(values[order], 0))
    return basis.reshape(-1, 3, count) / weight[:, None, None]


def _assemble(mean: Array, identity: Array, expression: Array) -> MorphableModel:
    parts = (
        mediapipe_mesh.LIP_VERTICES,
        mediapipe_mesh.JAW_VERTICES,
        mediapipe_mesh.FOREHEAD,
        mediapipe_mesh.EYES,
        mediapipe_mesh.BROWS,
        mediapipe_mesh.NOSE,
        mediapipe_mesh.RIGID_VERTICES,
    )
    keypoints = sorted(set().union(*parts))
    return MorphableModel(
        mean=mean.astype(np.float32),
        identity=identity.astype(np.float32),
        expression=expression.astype(np.float32),
        triangles=mediapipe_mesh.triangles(),
        keypoints=np.array(keypoints),
        landmarks=np.array(keypoints),
        rigid=np.array([keypoints.index(v) for v in mediapipe_mesh.RIGID_VERTICES]),
        lips=np.array(mediapipe_mesh.LIP_VERTICES),
        inner_lips=np.array(mediapipe_mesh.INNER_LIP_PAIRS),
        mouth_corners=np.array(mediapipe_mesh.MOUTH_CORNER_VERTICES),
        jaw=np.array(mediapipe_mesh.JAW_VERTICES),
        lower=lower_weight(mean),
    )


def lower_weight(mean: Array, top: int = 4, bottom: int = 2) -> Array:
    """Return the weight of the generated lower face, rising smoothly from the nose's tip to its base: (V,) in 0..1."""
    height = (mean[:, 1] - mean[top, 1]) / (mean[bottom, 1] - mean[top, 1])
    step = np.clip(height, 0, 1)
    return (step * step * (3 - 2 * step)).astype(np.float32)


# Frames of the shortest shot that says something of a person.
MIN_SHOT_FRAMES = 20


def track_landmarks(path: Path) -> Iterator[tuple[bool, Array | None]]:
    """Yield for every frame whether a shot begins there, and the landmarks (478, 3) of the main face or None."""
    tracker, cuts, follower = open_tracker(), CutDetector(), LargestFaceFollower()
    try:
        with VideoReader(path) as reader:
            for frame in reader.frames():
                rgb = frame.rgb()
                cut = cuts.is_cut(rgb)
                yield cut, follower.follow(tracker.detect(rgb), cut)
    finally:
        tracker.close()


def first_shot(path: Path, most: int = 600) -> list[Array]:
    """Return the landmarks of one person: the faces of the first shot that has enough of them, `most` at most."""
    faces: list[Array] = []
    for cut, face in track_landmarks(path):
        if len(faces) >= (MIN_SHOT_FRAMES if cut else most):
            break
        faces = [] if cut else faces
        if face is not None:
            faces.append(face)
    return faces


def learn_from_videos(sources: list[Path], output: Path) -> None:
    """Track the faces of videos and learn the morphable model from them.

    Args:
        sources: Videos or folders of them.
        output: File to write.
    """
    clips = []
    for path in (source.video for root in sources for source in find_videos(root)):
        try:
            faces = first_shot(path)
        except PersonaTalkError as error:
            print(f"left out: {error}", flush=True)
            continue
        if len(faces) >= MIN_SHOT_FRAMES:
            clips.append(np.stack(faces))
        print(f"{path.name}: {len(faces)} faces", flush=True)
    fit_morphable_model(clips).save(output)
