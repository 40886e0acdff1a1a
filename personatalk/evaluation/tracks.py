"""Videos as the metrics see them: landmarks and geometry of each frame, and one video in another's pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..audio.rates import FPS
from ..errors import FaceError, PersonaTalkError
from ..faces.analysis import Analysis, analyse
from ..faces.follow import LargestFaceFollower
from ..faces.landmarks import FaceTracker, open_tracker
from ..geometry.mediapipe_mesh import NUM_LANDMARKS
from ..geometry.morphable_model import MorphableModel
from ..media.reader import VideoReader
from ..utils.arrays import Array, Image, resampled
from . import metrics
from .metrics import Series

# Part of the aspect ratio by which two videos of the same shape may differ.
SHAPE_TOLERANCE = 0.02
# Margin of the face box on each side, as a part of its width.
TRACK_MARGIN = 0.05
# Least side of a face box in pixels: the window of SSIM.
SMALLEST_BOX = 7


@dataclass(frozen=True)
class Track:
    """The face of one video.

    Attributes:
        path: The file.
        size: Width and height in pixels.
        times: Seconds of each frame, (T,).
        landmarks: Landmarks in pixels, (T, 478, 2); NaN without a face.
        analysis: Its geometry; None where no frame shows a usable face.
    """

    path: Path
    size: tuple[int, int]
    times: Series
    landmarks: Array
    analysis: Analysis | None

    @property
    def has_face(self) -> npt.NDArray[np.bool_]:
        """Return whether each frame shows a face, (T,)."""
        return ~np.isnan(self.landmarks[:, 0, 0])


class _RecordingFollower:
    """Follows the largest face and keeps its landmarks, (478, 2) of each frame; NaN where it is not seen."""

    def __init__(self) -> None:
        self._follower, self.landmarks = LargestFaceFollower(), list[Array]()

    def follow(self, faces: list[Array], cut: bool) -> Array | None:
        face = self._follower.follow(faces, cut)
        self.landmarks.append(np.full((NUM_LANDMARKS, 2), np.nan, np.float32) if face is None else face[:, :2])
        return face


def track(path: Path, model: MorphableModel, tracker: Callable[[], FaceTracker] = open_tracker) -> Track:
    """Track the face of a video.

    Raises:
        MediaError: The file cannot be read.
    """
    follower, analysis = _RecordingFollower(), None
    with VideoReader(path) as reader, closing(tracker()) as opened:
        try:
            analysis = analyse(reader, opened, model, follower=follower)
            times = analysis.time
        except FaceError:
            times = np.array([frame.time for frame in reader.frames()])
        size = reader.info.upright_size
    return Track(path, size, np.asarray(times, np.float64), np.stack(follower.landmarks), analysis)


def crops_at_25(video: Track, margin: float = 0.2) -> Iterator[Image]:
    """Yield square crops of the face at 25 frames a second, at the last known place where there is no face.

    Args:
        video: The video.
        margin: Margin on each side, as a part of the landmarks' box.
    """
    landmarks, due = None, 0
    with VideoReader(video.path) as reader:
        for frame, found in zip(reader.frames(), video.landmarks, strict=False):
            landmarks = landmarks if np.isnan(found).any() else found
            while landmarks is not None and due <= frame.time * FPS + 0.5:
                due += 1
                yield square_crop(landmarks, frame.rgb(), margin)


def square_crop(landmarks: Array, image: Image, margin: float = 0.0) -> Image:
    """Cut the square around a face, its landmarks' box grown by a part of its side; edge pixels are repeated."""
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    half = float((high - low).max()) * (0.5 + margin)
    x, y = (low + high) / 2
    side = max(2, round(2 * half))
    matrix = np.array([[1, 0, half - x], [0, 1, half - y]], np.float32)
    crop: Image = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return crop


def expression_at_25(analysis: Analysis) -> Array:
    """Return the expression of the usable frames at 25 frames a second, (T, E)."""
    times, beta = analysis.time[analysis.usable], analysis.beta[analysis.usable]
    wanted = np.arange(np.ceil(times[0] * FPS), np.floor(times[-1] * FPS + 1e-6) + 1) / FPS
    # Where the face is away for longer, nothing is made up.
    return resampled(beta, times, wanted[metrics.nearest(wanted, times) >= 0])


def landmark_box(video: Track) -> tuple[slice, slice]:
    """Return the rows and columns of the face's place over the whole video, 5 % wider on each side.

    Raises:
        FaceError: The video shows no face, or one that is too small.
    """
    if not video.has_face.any():
        raise FaceError(f"{video.path}: shows no face")
    low, high = np.nanmin(video.landmarks, axis=(0, 1)), np.nanmax(video.landmarks, axis=(0, 1))
    margin = TRACK_MARGIN * (high[0] - low[0])
    left, top = (max(0, round(float(v - margin))) for v in low)
    right, bottom = (min(s, round(float(v + margin))) for v, s in zip(high, video.size, strict=True))
    if min(bottom - top, right - left) < SMALLEST_BOX:
        raise FaceError(f"{video.path}: the face is too small to be compared, or outside the image")
    return slice(top, bottom), slice(left, right)


def align_to(reference: Track, generated: Track) -> Array:
    """Return the transform of the generated video's pixels to the reference's, (2, 3).

    A video of the same shape is scaled, as systems that work at another size need it. One of another shape is taken
    for a crop: its transform is the similarity between the rigid landmarks of the faces, the median over the frames.

    Raises:
        PersonaTalkError: The shapes differ, and there are too few frames in which both show a face.
    """
    (width, height), (other_width, other_height) = reference.size, generated.size
    if abs(width / height - other_width / other_height) < SHAPE_TOLERANCE * width / height:
        factors = width / other_width, height / other_height
        scale = np.array([[factors[0], 0, 0], [0, factors[1], 0]], np.float32)
        scale[:, 2] = (np.array(factors) - 1) / 2
        return scale
    count = min(len(reference.landmarks), len(generated.landmarks))
    rigid = [np.ascontiguousarray(t.landmarks[:count, list(metrics.RIGID)]) for t in (generated, reference)]
    pairs = zip(*rigid, strict=True)
    found = [cv2.estimateAffinePartial2D(a, b, method=cv2.LMEDS)[0] for a, b in pairs if not np.isnan(a + b).any()]
    found = [matrix for matrix in found if matrix is not None]
    if len(found) < metrics.MIN_FACE_FRAMES:
        raise PersonaTalkError(f"{generated.path}: another shape than {reference.path}, and too few faces to align")
    median: Array = np.median(found, axis=0).astype(np.float32)
    return median


class AlignedVideo:
    """A generated video in the reference's pixels; see `align_to`.

    Attributes:
        covered: Pixels of the reference that the generated video shows, (H, W).
    """

    def __init__(self, reference: Track, generated: Track) -> None:
        self.transform, self.size = align_to(reference, generated), reference.size
        self.scaled = self.transform[0, 1] == 0 == self.transform[1, 0]
        self.same = generated.size == reference.size
        self.covered = np.ones(reference.size[::-1], bool)
        if not self.scaled:
            full = np.ones(generated.size[::-1], np.uint8)
            self.covered = cv2.warpAffine(full, self.transform, self.size, flags=cv2.INTER_NEAREST) > 0

    def image(self, image: Image) -> Image:
        """Move a frame of the generated video."""
        if self.same:
            return image
        if self.scaled:
            # Means over areas when it shrinks: a warp would alias.
            shrinks = image.shape[1] > self.size[0]
            return cv2.resize(image, self.size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        factor = float(np.hypot(self.transform[0, 0], self.transform[1, 0]))
        if factor < 1:
            image = cv2.GaussianBlur(image, (0, 0), 0.5 * (1 / factor**2 - 1) ** 0.5 + 1e-3)
        return cv2.warpAffine(image, self.transform, self.size, flags=cv2.INTER_LINEAR)

    def landmarks(self, landmarks: Array) -> Array:
        """Move landmarks (478, 2) of the generated video."""
        moved: Array = landmarks @ self.transform[:, :2].T + self.transform[:, 2]
        return moved
