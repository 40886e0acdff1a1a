"""Analysis of a video: faces, shots and geometry of every frame, and what is in front of the face, in one pass.

Frames stream by; what is kept is about 4 kB a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FaceError
from ..geometry.camera import rotations
from ..geometry.fitting import Estimate, Initialise, Initialiser, Tables, fit_shape, fit_shot
from ..geometry.morphable_model import MorphableModel
from ..media.probe import VideoInfo
from ..media.reader import VideoReader
from ..utils.arrays import Array, runs
from ..utils.progress import Progress, no_progress
from .follow import FaceFollower, Follower
from .landmarks import FaceTracker
from .occlusion import MOUTH_COVERED, ProbePoints, find_occlusions
from .shots import CutDetector

SMALLEST_FACE = 16.0
"""Least distance in pixels between the eyes' outer corners of a face that can be dubbed."""
LARGEST_YAW = 65.0
"""Degrees by which a head may be turned away and still be dubbed."""
SHORTEST_RUN = 3
"""Frames in a row that must show the face: fewer are a false alarm, or too few to tell a movement from noise."""

TABLES = ("time", "duration", "usable", "shot_of", "beta", "pose", "lips_hidden")
"""Arrays of an `Analysis` with one entry for each frame."""


class SkipReason(str, Enum):
    """Why a frame is passed through."""

    NO_FACE = "no face"
    SMALL = "face too small"
    PROFILE = "face turned away too far"
    BRIEF = "face seen too briefly"
    COVERED = "mouth covered"
    OUTSIDE = "face outside the picture"
    ORIGINAL = "original mouth asked for"


@dataclass(frozen=True)
class Shot:
    """Consecutive frames of one camera, and the geometry of those that show the face.

    Attributes:
        start: First frame.
        stop: Frame after the last.
        alpha: The speaker's shape, (I,); zeros where the shot has no usable frame.
    """

    start: int
    stop: int
    alpha: Array


@dataclass(frozen=True)
class Analysis:
    """What is known of a video.

    Attributes:
        info: The file.
        time: Presentation time of each frame in seconds, (T,).
        duration: Seconds that each frame is shown, (T,).
        usable: Whether the frame can be dubbed, (T,).
        reason: Why not, by frame.
        shots: In order; they cover all frames.
        shot_of: Number of the shot of each frame, (T,).
        beta: Expression, (T, E); 0 where not usable.
        pose: Head pose in upright picture pixels, (T, 6); 0 where not usable.
        occlusions: Occlusion of each probe point by frame, uint8 (P,) from `occlusion.find_occlusions`; only frames
            that have any.
        lips_hidden: Share of the lips that it hides, (T,).
    """

    info: VideoInfo
    time: npt.NDArray[np.float64]
    duration: npt.NDArray[np.float64]
    usable: npt.NDArray[np.bool_]
    reason: dict[int, SkipReason]
    shots: list[Shot]
    shot_of: npt.NDArray[np.int64]
    beta: Array
    pose: Array
    occlusions: dict[int, npt.NDArray[np.uint8]]
    lips_hidden: Array

    def __len__(self) -> int:
        return len(self.time)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it but the file, as arrays by name; `from_arrays` takes them back."""
        reasons = list(SkipReason)
        codes = np.zeros(len(self), np.uint8)
        for frame, why in self.reason.items():
            codes[frame] = 1 + reasons.index(why)
        covered = sorted(self.occlusions)
        return {
            **{name: getattr(self, name) for name in TABLES},
            "reason": codes,
            "start": np.array([shot.start for shot in self.shots], np.int64),
            "alpha": np.stack([shot.alpha for shot in self.shots]),
            "covered": np.array(covered, np.int64),
            "covers": np.stack([self.occlusions[i] for i in covered]) if covered else np.zeros((0, 0), np.uint8),
        }

    @classmethod
    def from_arrays(cls, info: VideoInfo, arrays: Mapping[str, npt.NDArray[Any]], model: MorphableModel) -> Analysis:
        """The analysis of a file, as `arrays` gave it.

        Args:
            info: The file.
            arrays: By name.
            model: The morphable model whose coefficients they are.

        Raises:
            ValueError: An array is missing, or they do not fit each other or the model.
        """
        count = len(arrays.get("time", ()))
        shapes = {"beta": (count, model.num_expression), "pose": (count, 6), "reason": (count,)}
        shapes |= {name: (count,) for name in TABLES if name not in shapes}
        wrong = [name for name, shape in shapes.items() if name not in arrays or arrays[name].shape != shape]
        start, alpha = (arrays.get(name, np.zeros(0)) for name in ("start", "alpha"))
        if wrong or not count or alpha.shape != (len(start), model.num_identity) or "covers" not in arrays:
            raise ValueError(f"an analysis of {count} frames with {', '.join(wrong) or 'shots'} of another shape")
        kinds = {**dict.fromkeys(("time", "duration"), np.float64), "usable": np.bool_, "shot_of": np.int64}
        tables: dict[str, Any] = {name: arrays[name].astype(kinds.get(name, np.float32)) for name in TABLES}
        ends = [*start[1:], count]
        if list(start[:1]) != [0] or (np.diff([*start, count]) <= 0).any():
            raise ValueError("shots that do not cover all frames")
        if (tables["shot_of"] != np.repeat(np.arange(len(start)), np.diff([*start, count]))).any():
            raise ValueError("shots that do not cover all frames")
        shots = [Shot(int(a), int(b), x.astype(np.float32)) for a, b, x in zip(start, ends, alpha, strict=True)]
        reasons = list(SkipReason)
        reason = {int(i): reasons[int(arrays["reason"][i]) - 1] for i in np.flatnonzero(arrays["reason"])}
        occlusions = {int(i): c.astype(np.uint8) for i, c in zip(arrays["covered"], arrays["covers"], strict=True)}
        return cls(info=info, reason=reason, shots=shots, occlusions=occlusions, **tables)

    def vertices(self, model: MorphableModel, frame: int) -> Array:
        """Canonical geometry {alpha, beta_t, 0} of a frame, (V, 3)."""
        return model.vertices(self.shots[self.shot_of[frame]].alpha, self.beta[frame])

    def openings(self, model: MorphableModel, frames: npt.NDArray[np.int64]) -> Array:
        """Mouth opening of the canonical geometry of frames, (N,)."""
        return np.array([model.mouth_opening(self.vertices(model, int(i))) for i in frames], np.float32)


@dataclass
class _Scan:
    """What the pass over the frames leaves: one entry per frame, estimates only where there is a face."""

    time: list[float]
    duration: list[float]
    cut: list[bool]
    estimates: list[Estimate | None]
    samples: list[npt.NDArray[np.uint8] | None]


def analyse(
    reader: VideoReader,
    tracker: FaceTracker,
    model: MorphableModel,
    progress: Progress | None = None,
    initialise: Initialise | None = None,
    follower: FaceFollower | None = None,
) -> Analysis:
    """Analyse a video.

    Args:
        reader: The video.
        tracker: Face backend.
        model: The morphable model.
        progress: Called with the stage's name, the steps done since the last call, and their total (0: unknown).
        initialise: The learned initialisation; by default the closed form from the landmarks.
        follower: Picks the face among those that the tracker finds; by default the largest is followed.

    Raises:
        FaceError: No frame of the video shows a usable face.
        MediaError: The file is damaged.
    """
    tell, estimated = progress or no_progress, reader.info.estimated_frames
    closed_form = Initialiser(model)
    initialise = initialise or (lambda rgb, face: closed_form(face))
    follower = follower or Follower()
    places = ProbePoints.of(model)
    scan = _scan(reader, tracker, initialise, follower, places, lambda n: tell("faces", n, estimated))
    shot_of = np.cumsum(scan.cut).astype(np.int64)
    occlusions = _covers(scan, places, shot_of)
    hidden = np.zeros(len(shot_of), np.float32)
    for i, cover in occlusions.items():
        hidden[i] = places.lips_hidden(cover[None])[0]
    usable, reason = _usable(scan, hidden)
    if not usable.any():
        raise FaceError(f"{reader.info.path}: {_nothing_usable(reason)}; give a video that shows the speaker")
    beta = np.zeros((len(usable), model.num_expression), np.float32)
    pose = np.zeros((len(usable), 6), np.float32)
    shots = []
    for number in range(int(shot_of[-1]) + 1 if len(shot_of) else 0):
        frames = np.flatnonzero(shot_of == number)
        alpha = np.zeros(model.num_identity, np.float32)
        seen = frames[usable[frames]]
        if len(seen):
            alpha = _fit(model, scan, seen, beta, pose, lambda n: tell("geometry", n, int(usable.sum())))
        shots.append(Shot(int(frames[0]), int(frames[-1]) + 1, alpha))
    time, duration = np.array(scan.time), np.array(scan.duration)
    return Analysis(reader.info, time, duration, usable, reason, shots, shot_of, beta, pose, occlusions, hidden)


def _scan(
    reader: VideoReader,
    tracker: FaceTracker,
    initialise: Initialise,
    follower: FaceFollower,
    places: ProbePoints,
    tell: Callable[[int], None],
) -> _Scan:
    scan, cuts = _Scan([], [], [], [], []), CutDetector()
    for frame in reader.frames():
        rgb = frame.rgb()
        cut = cuts.is_cut(rgb)
        if cuts.flash:
            scan.cut[-cuts.flash :] = [False] * cuts.flash
        face = follower.follow(tracker.detect(rgb), cut)
        scan.time.append(frame.time)
        scan.duration.append(float(frame.duration * reader.info.time_base))
        scan.cut.append(cut)
        found = None if face is None else initialise(rgb, face)
        scan.estimates.append(found)
        scan.samples.append(None if found is None else places.sample(rgb, found.alpha, found.beta, found.pose))
        tell(1)
    return scan


def _covers(scan: _Scan, places: ProbePoints, shot_of: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.uint8]]:
    """What is in front of the face, by frame."""
    occlusions = {}
    for shot in np.unique(shot_of):
        frames = [i for i in np.flatnonzero(shot_of == shot) if _unusable(scan.estimates[i]) is None]
        samples = [s for i in frames if (s := scan.samples[i]) is not None]
        if samples:
            found = find_occlusions(places, np.stack(samples))
            occlusions.update({int(i): cover for i, cover in zip(frames, found, strict=True) if cover.any()})
    return occlusions


def _usable(scan: _Scan, hidden: Array) -> tuple[npt.NDArray[np.bool_], dict[int, SkipReason]]:
    reason = {i: why for i, e in enumerate(scan.estimates) if (why := _unusable(e)) is not None}
    reason.update({int(i): SkipReason.COVERED for i in np.flatnonzero(hidden > MOUTH_COVERED)})
    usable = np.array([i not in reason for i in range(len(scan.estimates))], bool)
    for start, stop in runs(usable, np.array(scan.cut, bool)):
        if stop - start < SHORTEST_RUN:
            usable[start:stop] = False
            reason.update(dict.fromkeys(range(start, stop), SkipReason.BRIEF))
    return usable, reason


def _unusable(estimate: Estimate | None) -> SkipReason | None:
    if estimate is None:
        return SkipReason.NO_FACE
    if np.exp(estimate.pose[3]) < SMALLEST_FACE:
        return SkipReason.SMALL
    return SkipReason.PROFILE if yaw_of(estimate.pose) > LARGEST_YAW else None


def yaw_of(pose: Array) -> Array:
    """Degrees by which heads are turned away from the camera to either side, 0..90: (..., 6) to (...)."""
    ahead = rotations(pose)[..., 2]
    return np.degrees(np.arctan2(abs(ahead[..., 0]), abs(ahead[..., 2]))).astype(np.float32)


def _nothing_usable(reason: dict[int, SkipReason]) -> str:
    why = set(reason.values())
    if why <= {SkipReason.NO_FACE}:
        return "no face in any frame"
    return "no usable face in any frame (" + ", ".join(sorted(w.value for w in why)) + ")"


def _fit(
    model: MorphableModel,
    scan: _Scan,
    seen: npt.NDArray[np.int64],
    beta: Array,
    pose: Array,
    tell: Callable[[int], None],
) -> Array:
    """Fit one shot: fills `beta` and `pose` at its usable frames and returns its shape."""
    estimates = [e for i in seen if (e := scan.estimates[i]) is not None]
    tables, alpha_mean = tabulate(model, estimates)
    alpha = fit_shape(model, tables, alpha_mean)
    # Frames on the two sides of a gap are no neighbours: each stretch is smoothed for itself.
    gaps = np.concatenate([[False], np.diff(seen) > 1])
    for start, stop in runs(np.ones(len(seen), bool), gaps):
        fitted = fit_shot(model, tables[start:stop], alpha, progress=tell)
        beta[seen[start:stop]], pose[seen[start:stop]] = fitted.beta, fitted.pose
    return alpha


def tabulate(model: MorphableModel, estimates: list[Estimate]) -> tuple[Tables, Array]:
    """Initial coefficients of frames as arrays, with their expressions under the mean shape, which is returned too."""
    initialise = Initialiser(model)
    alphas = np.array([e.alpha for e in estimates])
    alpha_mean = alphas.mean(axis=0).astype(np.float32)
    beta = np.array([e.beta for e in estimates]) + initialise.expression_shift(alphas, alpha_mean)
    keypoints, pose = np.array([e.keypoints for e in estimates]), np.array([e.pose for e in estimates])
    return Tables(keypoints, beta.astype(np.float32), pose), alpha_mean
