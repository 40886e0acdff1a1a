"""Analysis of a video in one pass: faces, shots, geometry, light and occlusions of every frame.

Frames stream by. About 4 kB of each frame with a face are kept until the geometry is fitted, and 0.2 kB afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FaceError
from ..geometry.camera import continuous, rotations, steady
from ..geometry.fitting import Estimate, Initialise, Initialiser, Tables, fit_shape, fit_shot
from ..geometry.morphable_model import MorphableModel
from ..media.probe import VideoInfo
from ..media.reader import Frame, VideoReader
from ..utils.arrays import Array, Image, runs
from ..utils.progress import Progress, no_progress
from ..utils.threads import parallel_map
from .follow import FaceFollower, LargestFaceFollower
from .landmarks import FaceTracker
from .light import relative_light
from .occlusion import MAX_LIPS_HIDDEN, ProbePoints, find_occlusions
from .shots import Shots, find_shots

# Least distance in pixels between the eyes' outer corners of a face that can be dubbed.
MIN_EYE_DISTANCE = 16.0
# Degrees by which a head may be turned away and still be dubbed.
MAX_YAW = 65.0
# Consecutive frames that must show the face, or seconds: less is a false alarm, or too little to tell a movement from
# noise. A video of fewer frames shows nothing for longer.
MIN_RUN = 3
MIN_RUN_SECONDS = 0.1

# Arrays of an `Analysis` with one entry for each frame.
FRAME_ARRAYS = ("time", "duration", "usable", "shot_of", "beta", "pose", "lips_hidden", "faces", "light")


class SkipReason(str, Enum):
    """Reason for which a frame is passed through."""

    NO_FACE = "no face"
    SMALL = "face too small"
    PROFILE = "face turned away too far"
    BRIEF = "face seen too briefly"
    COVERED = "mouth covered"
    OUTSIDE = "face outside the image"
    ORIGINAL = "original mouth asked for"
    TRANSITION = "transition between shots"


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
    """Shots, geometry, light and occlusions of a video, as `analyse` finds them.

    Attributes:
        info: The file.
        time: Presentation time of each frame in seconds, (T,).
        duration: Seconds that each frame is shown, (T,).
        usable: Whether the frame can be dubbed, (T,).
        reason: Why a frame cannot be dubbed, by frame.
        shots: In order; they cover all frames.
        shot_of: Number of the shot of each frame, (T,).
        beta: Expression, (T, E); 0 where not usable.
        pose: Head pose in upright image pixels, (T, 6); 0 where not usable.
        occlusions: Occlusion of each probe point by frame, uint8 (P,) from `occlusion.find_occlusions`; only frames
            that have any.
        lips_hidden: Share of the lips that is occluded, (T,).
        faces: Number of faces that the frame shows, (T,).
        light: Light on the face: gain of each channel over the shot's usual light, (T, 3); 1 where it is ordinary.
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
    faces: npt.NDArray[np.int64]
    light: Array

    def __len__(self) -> int:
        return len(self.time)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything but the file as arrays by name; `from_arrays` reads them."""
        reasons = list(SkipReason)
        codes = np.zeros(len(self), np.uint8)
        for frame, why in self.reason.items():
            codes[frame] = 1 + reasons.index(why)
        covered = sorted(self.occlusions)
        return {
            **{name: getattr(self, name) for name in FRAME_ARRAYS},
            "reason": codes,
            "start": np.array([shot.start for shot in self.shots], np.int64),
            "alpha": np.stack([shot.alpha for shot in self.shots]),
            "covered": np.array(covered, np.int64),
            "covers": np.stack([self.occlusions[i] for i in covered]) if covered else np.zeros((0, 0), np.uint8),
        }

    @classmethod
    def from_arrays(cls, info: VideoInfo, arrays: Mapping[str, npt.NDArray[Any]], model: MorphableModel) -> Analysis:
        """Make the analysis of a file from what `arrays` returned.

        Args:
            info: The file.
            arrays: Arrays by name.
            model: The morphable model whose coefficients they are.

        Raises:
            ValueError: An array is missing, or they do not fit each other or the model.
        """
        count = len(arrays.get("time", ()))
        arrays = {
            "faces": np.zeros(count, np.int64),
            "light": np.ones((count, 3), np.float32),
            **arrays,
        }  # older files do not say
        shapes = {"beta": (count, model.num_expression), "pose": (count, 6), "light": (count, 3), "reason": (count,)}
        shapes |= {name: (count,) for name in FRAME_ARRAYS if name not in shapes}
        wrong = [name for name, shape in shapes.items() if name not in arrays or arrays[name].shape != shape]
        start, alpha = (arrays.get(name, np.zeros(0)) for name in ("start", "alpha"))
        if wrong or not count or alpha.shape != (len(start), model.num_identity) or "covers" not in arrays:
            raise ValueError(f"an analysis of {count} frames with {', '.join(wrong) or 'shots'} of another shape")
        kinds = {
            **dict.fromkeys(("time", "duration"), np.float64),
            "usable": np.bool_,
            "shot_of": np.int64,
            "faces": np.int64,
        }
        tables: dict[str, Any] = {name: arrays[name].astype(kinds.get(name, np.float32)) for name in FRAME_ARRAYS}
        if not (tables["light"] > 0).all():
            raise ValueError("light that is not positive")
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
        """Return the canonical geometry {alpha, beta_t, 0} of a frame, (V, 3)."""
        return model.vertices(self.shots[self.shot_of[frame]].alpha, self.beta[frame])

    def openings(self, model: MorphableModel, frames: npt.NDArray[np.int64]) -> Array:
        """Return the mouth opening of the canonical geometry of frames, (N,), in model units."""
        return np.array([model.mouth_opening(self.vertices(model, int(i))) for i in frames], np.float32)


@dataclass
class FrameScan:
    """One frame as the pass over the video leaves it.

    Attributes:
        time: Presentation time in seconds.
        duration: Seconds that the frame is shown.
        cut: Whether a shot begins at this frame.
        in_transition: Whether it shows two shots at once, or neither; no face is looked for.
        wanted: Whether it is looked at.
        estimate: Initial coefficients of the followed face; None where it is not seen.
        sample: Colours of the face's probe points, uint8 (P, 4), from `ProbePoints.sample`; None likewise.
        faces: Number of faces that the frame shows.
    """

    time: float
    duration: float
    cut: bool
    in_transition: bool = False
    wanted: bool = True
    estimate: Estimate | None = None
    sample: npt.NDArray[np.uint8] | None = None
    faces: int = 0

    @property
    def skip_reason(self) -> SkipReason | None:
        """Reason why the frame alone, without its neighbours, cannot be dubbed; None where it can."""
        if not self.wanted:
            return SkipReason.ORIGINAL
        if self.in_transition:
            return SkipReason.TRANSITION
        if self.estimate is None:
            return SkipReason.NO_FACE
        if np.exp(self.estimate.pose[3]) < MIN_EYE_DISTANCE:
            return SkipReason.SMALL
        return SkipReason.PROFILE if yaw_of(self.estimate.pose) > MAX_YAW else None


def analyse(
    reader: VideoReader,
    tracker: FaceTracker,
    model: MorphableModel,
    progress: Progress | None = None,
    initialise: Initialise | None = None,
    follower: FaceFollower | None = None,
    within: tuple[float, float] | None = None,
) -> Analysis:
    """Analyse a video.

    Args:
        reader: The video.
        tracker: Face backend.
        model: The morphable model.
        progress: Called with the stage's name, the steps done since the last call, and their total (0: unknown).
        initialise: The learned initialisation; by default the closed form from the landmarks.
        follower: Picks the face among those that the tracker finds; by default the largest of each shot is followed.
        within: Start and end in seconds of the frames that are looked at; by default all are.

    Raises:
        FaceError: No frame of the video shows a usable face.
        MediaError: The file is damaged.
    """
    on_progress, estimated = progress or no_progress, reader.info.estimated_frames
    closed_form = Initialiser(model)
    initialise = initialise or (lambda rgb, face: closed_form(face))
    follower = follower or LargestFaceFollower()
    points = ProbePoints.of(model)
    bounds = find_shots(reader, lambda n: on_progress("shots", n, estimated))
    shot_of = bounds.shot_of
    scans = _scan(
        reader, bounds, tracker, initialise, follower, points, within, lambda n: on_progress("faces", n, estimated)
    )
    occlusions, light = _appearance(scans, points, shot_of)
    lips_hidden = np.zeros(len(shot_of), np.float32)
    for i, occlusion in occlusions.items():
        lips_hidden[i] = points.lips_hidden(occlusion[None])[0]
    usable, reason = _usable(scans, lips_hidden)
    if not usable.any():
        where = "" if within is None else f" from {max(0.0, within[0]):g} s to {within[1]:g} s"
        raise FaceError(f"{reader.info.path}: {_nothing_usable(reason)}{where}; give a video that shows the speaker")
    beta = np.zeros((len(usable), model.num_expression), np.float32)
    pose = np.zeros((len(usable), 6), np.float32)
    shots = []
    for number in range(int(shot_of[-1]) + 1 if len(shot_of) else 0):
        frames = np.flatnonzero(shot_of == number)
        alpha = np.zeros(model.num_identity, np.float32)
        seen = frames[usable[frames]]
        if len(seen):
            alpha = _fit(model, scans, seen, beta, pose, lambda n: on_progress("geometry", n, int(usable.sum())))
        shots.append(Shot(int(frames[0]), int(frames[-1]) + 1, alpha))
    return Analysis(
        info=reader.info,
        time=np.array([scan.time for scan in scans]),
        duration=np.array([scan.duration for scan in scans]),
        usable=usable,
        reason=reason,
        shots=shots,
        shot_of=shot_of,
        beta=beta,
        pose=pose,
        occlusions=occlusions,
        lips_hidden=lips_hidden,
        faces=np.array([scan.faces for scan in scans], np.int64),
        light=light,
    )


def _scan(
    reader: VideoReader,
    shots: Shots,
    tracker: FaceTracker,
    initialise: Initialise,
    follower: FaceFollower,
    points: ProbePoints,
    within: tuple[float, float] | None,
    on_progress: Callable[[int], None],
) -> list[FrameScan]:
    """Pass over a video, one `FrameScan` for each frame; other threads do what needs no frame before."""

    def shown(item: tuple[Frame, tuple[bool, bool]]) -> tuple[FrameScan, Image | None]:
        frame, (cut, in_transition) = item
        scan = FrameScan(frame.time, float(frame.duration * reader.info.time_base), cut, in_transition)
        scan.wanted = within is None or within[0] <= frame.time < within[1]
        return scan, frame.rgb() if scan.wanted and not in_transition else None

    def followed(images: Iterable[tuple[FrameScan, Image | None]]) -> Iterator[tuple[FrameScan, Image | None, Any]]:
        for scan, rgb in images:
            faces = [] if rgb is None else tracker.detect(rgb)
            scan.faces = len(faces)
            yield scan, rgb, follower.follow(faces, scan.cut)

    def estimated(item: tuple[FrameScan, Image | None, Array | None]) -> FrameScan:
        scan, rgb, face = item
        if face is not None and rgb is not None:
            scan.estimate = found = initialise(rgb, face)
            scan.sample = points.sample(rgb, found.alpha, found.beta, found.pose)
        return scan

    flags = zip(shots.begins.tolist(), shots.in_transition.tolist(), strict=True)
    images = parallel_map(shown, zip(reader.frames(), flags, strict=True))
    scans = list[FrameScan]()
    with closing(images), closing(parallel_map(estimated, followed(images))) as done:
        for scan in done:
            scans.append(scan)
            on_progress(1)
    return scans


def _appearance(
    scans: list[FrameScan], points: ProbePoints, shot_of: npt.NDArray[np.int64]
) -> tuple[dict[int, npt.NDArray[np.uint8]], Array]:
    """Find the occlusions of each frame that has any, and the light on the face in all frames, shot by shot."""
    occlusions, light = {}, np.ones((len(scans), 3), np.float32)
    for shot in np.unique(shot_of):
        frames = [int(i) for i in np.flatnonzero(shot_of == shot) if scans[i].skip_reason is None]
        samples = [sample for i in frames if (sample := scans[i].sample) is not None]
        if samples:
            stacked = np.stack(samples)
            light[frames], found = relative_light(points, stacked), find_occlusions(points, stacked)
            occlusions.update({i: occlusion for i, occlusion in zip(frames, found, strict=True) if occlusion.any()})
    return occlusions, light


def _usable(scans: list[FrameScan], lips_hidden: Array) -> tuple[npt.NDArray[np.bool_], dict[int, SkipReason]]:
    """Decide which frames can be dubbed, (T,), and why the others cannot."""
    reason = {i: why for i, scan in enumerate(scans) if (why := scan.skip_reason) is not None}
    reason.update({int(i): SkipReason.COVERED for i in np.flatnonzero(lips_hidden > MAX_LIPS_HIDDEN)})
    usable = np.array([i not in reason for i in range(len(scans))], bool)
    for start, stop in runs(usable, np.array([scan.cut for scan in scans], bool)):
        seconds = sum(scan.duration for scan in scans[start:stop])
        if stop - start < min(MIN_RUN, len(scans)) and seconds < MIN_RUN_SECONDS:
            usable[start:stop] = False
            reason.update(dict.fromkeys(range(start, stop), SkipReason.BRIEF))
    return usable, reason


def yaw_of(pose: Array) -> Array:
    """Return the degrees by which heads are turned away from the camera to either side, 0..90: (..., 6) to (...)."""
    ahead = rotations(pose)[..., 2]
    return np.degrees(np.arctan2(abs(ahead[..., 0]), abs(ahead[..., 2]))).astype(np.float32)


def _nothing_usable(reason: dict[int, SkipReason]) -> str:
    why = set(reason.values()) - {SkipReason.ORIGINAL}
    if why <= {SkipReason.NO_FACE}:
        return "no face in any frame"
    return "no usable face in any frame (" + ", ".join(sorted(w.value for w in why)) + ")"


def _fit(
    model: MorphableModel,
    scans: list[FrameScan],
    seen: npt.NDArray[np.int64],
    beta: Array,
    pose: Array,
    on_progress: Callable[[int], None],
) -> Array:
    """Fit one shot: fill `beta` and `pose` at its usable frames and return its shape."""
    estimates = [e for i in seen if (e := scans[i].estimate) is not None]
    tables, alpha_mean = tabulate(model, estimates)
    alpha = fit_shape(model, tables, alpha_mean)
    # Frames on the two sides of a gap are no neighbours: each stretch is smoothed on its own.
    gaps = np.concatenate([[False], np.diff(seen) > 1])
    for start, stop in runs(np.ones(len(seen), bool), gaps):
        fitted = fit_shot(model, tables[start:stop], alpha, progress=on_progress)
        step = float(np.median([scans[i].duration for i in seen[start:stop]]))
        beta[seen[start:stop]], pose[seen[start:stop]] = fitted.beta, steady(fitted.pose, step)
    return alpha


def tabulate(model: MorphableModel, estimates: list[Estimate]) -> tuple[Tables, Array]:
    """Return the initial coefficients of frames as arrays, their expressions under the mean shape, and that shape."""
    initialise = Initialiser(model)
    alphas = np.array([e.alpha for e in estimates])
    alpha_mean = alphas.mean(axis=0).astype(np.float32)
    beta = np.array([e.beta for e in estimates]) + initialise.expression_shift(alphas, alpha_mean)
    keypoints = np.array([e.keypoints for e in estimates])
    pose = continuous(np.array([e.pose for e in estimates]))
    return Tables(keypoints, beta.astype(np.float32), pose), alpha_mean
