"""One generated video held against its reference: two passes over both, no picture is kept but a few of the worst."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..audio.encoder import FPS, SAMPLE_RATE
from ..audio.loudness import normalise_loudness
from ..audio.phones import aligned_phones
from ..audio.voice_activity import voice_activity
from ..errors import FaceError, MediaError, PersonaTalkError
from ..faces.analysis import Analysis, analyse
from ..faces.follow import LargestFaceFollower
from ..faces.landmarks import FaceTracker, open_tracker
from ..faces.recognition import ArcFaceRecogniser
from ..geometry.mediapipe_mesh import NUM_LANDMARKS
from ..geometry.morphable_model import MorphableModel
from ..media.audio import read_speech
from ..media.reader import VideoReader
from ..stage1.style_similarity import StyleSimilarityEncoder
from ..utils.arrays import Array, Image, resampled
from . import metrics
from .active_speaker import ActiveSpeaker
from .metrics import Series
from .networks import InceptionNetwork, PerceptualNetwork, VideoFeatures, square
from .syncnet import SyncNet, sync

EVERY = 5
"""Every so many frames LPIPS, CSIM and FID are taken."""
WORST = 3
"""Worst frames kept as pictures."""
SHORTEST_SILENCE = 0.3
"""Seconds of silence that motion in silence needs."""


@dataclass(frozen=True)
class MetricNetworks:
    """The networks there are; None for those that are not.

    Attributes:
        identity: For CSIM.
        perceptual: For LPIPS.
        inception: For FID.
        video: For FVD.
        sync: For SyncScore and LSE-D.
        speaking: For the active-speaker score.
        style: For StyleSim.
    """

    identity: ArcFaceRecogniser | None = None
    perceptual: PerceptualNetwork | None = None
    inception: InceptionNetwork | None = None
    video: VideoFeatures | None = None
    sync: SyncNet | None = None
    speaking: ActiveSpeaker | None = None
    style: StyleSimilarityEncoder | None = None


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        name: Of the pair in the report.
        reference: The real video.
        generated: The other one.
        text: What is said in it, if known, for the closure on B, M and P.
        mismatched: The generated video has other words than the reference: then what follows the reference's mouth is
            leakage, and only what needs no real mouth is measured.
    """

    name: str
    reference: Path
    generated: Path
    text: str = ""
    mismatched: bool = False


@dataclass
class ComparisonResult:
    """Figures of one pair, NaN where one could not be had.

    Attributes:
        job: What was compared.
        figures: By name; docs/evaluation.md defines them.
        notes: What stood in the way, by figure.
        real: Mouth opening of the reference, (T,).
        made: Mouth opening of the generated video, (T',).
        worst: Frame number, distance, and both face boxes of the worst frames.
        features: Features of both videos' faces for FID and FVD, by name: (reference, generated), each (N, D).
    """

    job: Comparison
    figures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    real: Series = field(default_factory=lambda: np.zeros(0))
    made: Series = field(default_factory=lambda: np.zeros(0))
    worst: list[tuple[int, float, Image, Image]] = field(default_factory=list)
    features: dict[str, tuple[Array, Array]] = field(default_factory=dict)


@dataclass(frozen=True)
class Track:
    """One video, seen once.

    Attributes:
        path: The file.
        size: Width and height.
        times: Seconds of each frame, (T,).
        marks: Landmarks in pixels, (T, 478, 2); NaN without a face.
        analysis: Its geometry; None where no frame shows a usable face.
    """

    path: Path
    size: tuple[int, int]
    times: Series
    marks: Array
    analysis: Analysis | None


class _RecordingFollower:
    """Follows the largest face and keeps its landmarks, (478, 2) of each frame; NaN where it is not seen."""

    def __init__(self) -> None:
        self._follower, self.landmarks = LargestFaceFollower(), list[Array]()

    def follow(self, faces: list[Array], cut: bool) -> Array | None:
        face = self._follower.follow(faces, cut)
        self.landmarks.append(np.full((NUM_LANDMARKS, 2), np.nan, np.float32) if face is None else face[:, :2])
        return face


def track(path: Path, model: MorphableModel, tracker: Callable[[], FaceTracker] = open_tracker) -> Track:
    """Follow the face of a video.

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


def align_to(reference: Track, generated: Track) -> Array:
    """How the generated video's pixels lie on the reference's, (2, 3).

    A video of the same shape is scaled, as peers that work at another size need it. One of another shape is a crop:
    the similarity that lays its rigid face points on the reference's, the median over the frames.

    Raises:
        PersonaTalkError: The shapes differ, and there are too few frames in which both show a face.
    """
    (w, h), (ww, hh) = reference.size, generated.size
    if abs(w / h - ww / hh) < 0.02 * w / h:
        scale = np.array([[w / ww, 0, 0], [0, h / hh, 0]], np.float32)
        scale[:, 2] = (np.array([w / ww, h / hh]) - 1) / 2
        return scale
    count = min(len(reference.marks), len(generated.marks))
    rigid = [np.ascontiguousarray(t.marks[:count, list(metrics.RIGID)]) for t in (generated, reference)]
    pairs = zip(*rigid, strict=True)
    found = [cv2.estimateAffinePartial2D(a, b, method=cv2.LMEDS)[0] for a, b in pairs if not np.isnan(a + b).any()]
    found = [m for m in found if m is not None]
    if len(found) < metrics.FEWEST:
        raise PersonaTalkError(f"{generated.path}: another shape than {reference.path}, and too few faces to lay it on")
    middle: Array = np.median(found, axis=0).astype(np.float32)
    return middle


def evaluate_pair(
    job: Comparison, judges: MetricNetworks, model: MorphableModel, reference: Track | None = None
) -> ComparisonResult:
    """All figures of one pair.

    Args:
        job: What to compare.
        judges: The networks there are.
        model: The morphable model that style is told in.
        reference: The reference's track, where it is known already.

    Raises:
        MediaError: A file cannot be read.
    """
    reference = reference or track(job.reference, model)
    generated = track(job.generated, model)
    result = ComparisonResult(job)
    result.figures["frames"] = len(generated.times)
    result.figures["faces"] = float((~np.isnan(generated.marks[:, 0, 0])).mean())
    result.figures["spread"] = _spread(metrics.opening(generated.marks))
    shown = metrics.nearest(reference.times, generated.times)
    if len(shown) != len(generated.times) or (shown != np.arange(len(shown))).any():
        kept = int((shown >= 0).sum())
        result.notes["frames"] = f"paired by time: {len(shown)} against {len(generated.times)} frames, {kept} compared"
    # What cannot be had is a note on its own figures, and the others still come.
    parts: dict[str, Callable[[], None]] = {
        "lips": lambda: _lips(result, reference, generated, shown),
        "sound": lambda: _sound(result, generated, judges),
        "style": lambda: _style(result, reference, generated, judges),
        "pictures": lambda: _pictures(result, reference, generated, shown, judges),
    }
    for part, measure in parts.items():
        try:
            measure()
        except PersonaTalkError as error:
            result.notes[part] = str(error)
    return result


def _lips(result: ComparisonResult, reference: Track, generated: Track, shown: npt.NDArray[np.int64]) -> None:
    """Figures of the mouth's motion."""
    figures = result.figures
    made_marks = np.where((shown >= 0)[:, None, None], generated.marks[shown], np.nan)
    real, made = result.real, result.made = metrics.opening(reference.marks), metrics.opening(made_marks)
    if result.job.mismatched:
        figures["leakage"] = metrics.correlation(real, made)
        return
    lag = metrics.best_lag(real, made)
    figures |= {"lag": lag, "opening_r": metrics.correlation(real, made, lag)}
    figures["opening_r0"] = metrics.correlation(real, made)
    # Lips are compared in the reference's pixels: the similarity inside undoes size and crop.
    marks = metrics.shifted(reference.marks, made_marks, lag)
    try:
        theirs, ours, eyes = metrics.aligned_lips(*marks)
    except ValueError as error:
        for name in ("lmd", "articulation", "jitter"):
            figures[name], result.notes[name] = float("nan"), str(error)
        return
    known = ~np.isnan(marks[0][:, 0, 0]) & ~np.isnan(marks[1][:, 0, 0])
    spread = [float(np.nanstd(metrics.opening(m[known]))) for m in marks]
    figures["lmd"] = float(np.nanmean(metrics.lip_distance(theirs, ours, eyes)))
    figures["articulation"] = spread[1] / max(spread[0], 1e-9)
    figures["jitter"] = metrics.jitter(ours) / max(metrics.jitter(theirs), 1e-9)


def _sound(result: ComparisonResult, generated: Track, judges: MetricNetworks) -> None:
    """Figures that need the generated video's sound."""
    names = ["silence", "closure"]
    names += ["sync_score", "lse_d"] if judges.sync is not None else []
    names += ["speaking"] if judges.speaking is not None else []
    try:
        samples = read_speech(generated.path, SAMPLE_RATE)
    except MediaError as error:
        result.notes |= {name: str(error) for name in names}
        result.figures |= {name: float("nan") for name in names}
        return
    result.figures["silence"] = motion_in_silence(generated, samples)
    if result.job.text:
        try:
            phones = aligned_phones(samples, result.job.text)
            result.figures["closure"] = metrics.closure(metrics.opening(generated.marks), generated.times, phones)[0]
        except PersonaTalkError as error:
            result.notes["closure"] = str(error)
    if judges.sync is not None:
        found = sync(judges.sync, crops_at_25(generated), samples)
        result.figures |= {"sync_score": found.confidence, "lse_d": found.distance}
    if judges.speaking is not None:
        # The centre half of the authors' crop, which is 1.8 times as wide as the face.
        result.figures["speaking"] = judges.speaking.score(crops_at_25(generated, margin=-0.05), samples)


def motion_in_silence(video: Track, samples: Array) -> float:
    """Spread of the opening where the sound is silent over that where there is voice; NaN where there is no silence."""
    voice = voice_activity(normalise_loudness(samples))
    at = np.clip((video.times * FPS).astype(int), 0, max(0, len(voice) - 1))
    voiced = (voice[at] > 0) & (video.times * FPS < len(voice)) if len(voice) else np.zeros(len(at), bool)
    if (~voiced).sum() < SHORTEST_SILENCE * len(at) / max(video.times[-1], 1e-6) or voiced.sum() < metrics.FEWEST:
        return float("nan")
    still, moving = (_spread(metrics.opening(video.marks[part])) for part in (~voiced, voiced))
    return still / max(moving, 1e-9)


def _spread(opening: Series) -> float:
    """Standard deviation over the frames with a face.

    The lips' speed would be the obvious measure of motion, but on a head that turns most of it is the tracker's noise.
    """
    return float(np.nanstd(opening)) if (~np.isnan(opening)).sum() >= metrics.FEWEST else float("nan")


def crops_at_25(video: Track, margin: float = 0.2) -> Iterator[Image]:
    """Square crops of the face at 25 a second; the last known place where there is none."""
    marks, due = None, 0
    with VideoReader(video.path) as reader:
        for frame, found in zip(reader.frames(), video.marks, strict=False):
            marks = marks if np.isnan(found).any() else found
            while marks is not None and due <= frame.time * FPS + 0.5:
                due += 1
                yield square(marks, frame.rgb(), margin)


def _style(result: ComparisonResult, reference: Track, generated: Track, judges: MetricNetworks) -> None:
    if judges.style is None:
        return
    if reference.analysis is None or generated.analysis is None:
        result.figures["style_sim"], result.notes["style_sim"] = float("nan"), "no usable face"
        return
    found = [at_25(t.analysis) for t in (reference, generated) if t.analysis is not None]
    if min(map(len, found)) < StyleSimilarityEncoder.SHORTEST:
        result.figures["style_sim"], result.notes["style_sim"] = float("nan"), "too few frames with a face"
        return
    result.figures["style_sim"] = metrics.cosine(*(judges.style.embed(beta) for beta in found))


def at_25(analysis: Analysis) -> Array:
    """Expression of the usable frames at 25 a second, (T, E)."""
    times, beta = analysis.time[analysis.usable], analysis.beta[analysis.usable]
    wanted = np.arange(np.ceil(times[0] * FPS), np.floor(times[-1] * FPS + 1e-6) + 1) / FPS
    # Where the face is away for longer, nothing is made up.
    return resampled(beta, times, wanted[metrics.nearest(wanted, times) >= 0])


def _box(marks: Array, size: tuple[int, int]) -> tuple[slice, slice]:
    """The face's place over the whole video, 5 % wider, as rows and columns."""
    low, high = np.nanmin(marks, axis=(0, 1)), np.nanmax(marks, axis=(0, 1))
    margin = 0.05 * (high[0] - low[0])
    x0, y0 = (max(0, round(float(v - margin))) for v in low)
    x1, y1 = (min(s, round(float(v + margin))) for v, s in zip(high, size, strict=True))
    return slice(y0, y1), slice(x0, x1)


class _Sums:
    """Values by name, to be averaged."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        return {name: float(np.mean(found)) for name, found in self.values.items()}


def _pictures(
    result: ComparisonResult, reference: Track, generated: Track, shown: npt.NDArray[np.int64], judges: MetricNetworks
) -> None:
    """Figures of the pixels, frame by frame: the lag stays in, as pixels were never meant to be late."""
    if np.isnan(reference.marks[:, 0, 0]).all():
        raise FaceError(f"{reference.path}: shows no face")
    rows, columns = _box(reference.marks, reference.size)
    if min(rows.stop - rows.start, columns.stop - columns.start) < SMALLEST_BOX:
        raise FaceError(f"{reference.path}: the face is too small to be compared, or outside the picture")
    laid = _Aligned(reference, generated)
    outside = laid.covered.copy()
    outside[rows, columns] = False
    if not laid.covered[rows, columns].all():
        raise FaceError(f"{generated.path}: does not show all of the reference's face")
    sums, faces = _Sums(), _Faces(judges)
    with VideoReader(reference.path) as a, VideoReader(generated.path) as b:
        others, place, new = b.frames(), -1, None
        for number, old in enumerate(a.frames()):
            wanted = int(shown[number]) if number < len(shown) else -1
            while place < wanted and (new := next(others, None)) is not None:
                place += 1
            if wanted < 0 or new is None:
                continue
            real, made = old.rgb(), laid.picture(new.rgb())
            box = real[rows, columns], made[rows, columns]
            if outside.any():
                sums.add(untouched=metrics.psnr(real, made, outside))
            if not result.job.mismatched:
                _compared(result, sums, box, number, judges)
            faces.add(number, (real, made), (reference.marks[number], laid.marks(generated.marks[wanted])), box)
    result.worst.sort(key=lambda w: -w[1])
    result.figures |= {**sums.means(), **faces.cosines.means()}
    result.features = faces.features()


class _Aligned:
    """A generated video in the reference's pixels; see `align_to`."""

    def __init__(self, reference: Track, generated: Track) -> None:
        self.transform, self.size = align_to(reference, generated), reference.size
        self.scaled = self.transform[0, 1] == 0 == self.transform[1, 0]
        self.same = generated.size == reference.size
        full = np.ones(generated.size[::-1], np.uint8)
        self.covered = np.ones(reference.size[::-1], bool)
        if not self.scaled:
            self.covered = cv2.warpAffine(full, self.transform, self.size, flags=cv2.INTER_NEAREST) > 0

    def picture(self, picture: Image) -> Image:
        """A frame of it."""
        if self.same:
            return picture
        if self.scaled:
            # Means over areas when it shrinks: a warp would alias.
            shrinks = picture.shape[1] > self.size[0]
            return cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        factor = float(np.hypot(self.transform[0, 0], self.transform[1, 0]))
        if factor < 1:
            picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * (1 / factor**2 - 1) ** 0.5 + 1e-3)
        return cv2.warpAffine(picture, self.transform, self.size, flags=cv2.INTER_LINEAR)

    def marks(self, marks: Array) -> Array:
        """Landmarks (478, 2) of it."""
        moved: Array = marks @ self.transform[:, :2].T + self.transform[:, 2]
        return moved


SMALLEST_BOX = 7
"""Pixels of a face box's side: the window of SSIM."""
KEPT_HEIGHT = 220
"""Height at which the worst frames are kept."""


def _small(picture: Image) -> Image:
    width = max(1, round(picture.shape[1] * KEPT_HEIGHT / picture.shape[0]))
    return cv2.resize(picture, (width, KEPT_HEIGHT), interpolation=cv2.INTER_AREA)


def _compared(
    result: ComparisonResult, sums: _Sums, box: tuple[Image, Image], number: int, judges: MetricNetworks
) -> None:
    quality = metrics.psnr(*box)
    sums.add(psnr=quality, ssim=metrics.ssim(*box))
    badness = -quality
    if judges.perceptual is not None and number % EVERY == 0:
        distance = judges.perceptual.distance(*box)
        sums.add(lpips=distance)
    if len(result.worst) == WORST and badness <= min(w[1] for w in result.worst):
        return
    kept = [*result.worst, (number, badness, _small(box[0]), _small(box[1]))]
    # Neighbours look alike: a worse one takes the place of the frame next to it.
    close = [w for w in kept if abs(w[0] - number) < 10]
    kept = [w for w in kept if abs(w[0] - number) >= 10] + [max(close, key=lambda w: w[1])]
    result.worst = heapq.nlargest(WORST, kept, key=lambda w: w[1])


class _Faces:
    """Networks that look at single faces: identity, Inception, the video network."""

    def __init__(self, judges: MetricNetworks) -> None:
        self.judges, self.cosines = judges, _Sums()
        self._found: dict[str, tuple[list[Array], list[Array]]] = {}
        self._clip: list[tuple[Image, Image]] = []

    def add(self, number: int, pictures: tuple[Image, Image], marks: Any, box: tuple[Image, Image]) -> None:
        """A frame of both videos, in the reference's pixels."""
        judges = self.judges
        seen = not any(np.isnan(m).any() for m in marks)
        if number % EVERY == 0 and judges.identity is not None and seen:
            vectors = [judges.identity.embed(p, m) for p, m in zip(pictures, marks, strict=True)]
            self.cosines.add(csim=metrics.cosine(*vectors))
        if number % EVERY == 0 and judges.inception is not None:
            self._add("fid", *(judges.inception.features(picture) for picture in box))
        if judges.video is not None:
            side = (VideoFeatures.SIDE, VideoFeatures.SIDE)
            self._clip.append(tuple(cv2.resize(p, side, interpolation=cv2.INTER_AREA) for p in box))
            if len(self._clip) == VideoFeatures.FRAMES:
                self._add("fvd", *(judges.video.features(list(side)) for side in zip(*self._clip, strict=True)))
                self._clip = []

    def _add(self, name: str, real: Array, made: Array) -> None:
        both = self._found.setdefault(name, ([], []))
        both[0].append(real.astype(np.float32))
        both[1].append(made.astype(np.float32))

    def features(self) -> dict[str, tuple[Array, Array]]:
        """All features so far, by name."""
        return {name: (np.concatenate(a), np.concatenate(b)) for name, (a, b) in self._found.items()}


def ground_truth(
    job: Comparison, judges: MetricNetworks, model: MorphableModel, reference: Track | None = None
) -> ComparisonResult:
    """The reference held against itself: the row that says what the best possible is.

    CSIM and StyleSim compare its first half with its second, as a copy would be 1 by definition.
    """
    reference = reference or track(job.reference, model)
    result = ComparisonResult(job, real=metrics.opening(reference.marks), made=metrics.opening(reference.marks))
    result.figures = {
        **{"ssim": 1.0, "psnr": float("inf"), "lpips": 0.0, "fid": 0.0, "fvd": 0.0, "lmd": 0.0, "opening_r": 1.0},
        **{"lag": 0, "articulation": 1.0, "jitter": 1.0, "frames": len(reference.times)},
        **{"faces": float((~np.isnan(reference.marks[:, 0, 0])).mean())},
    }
    own = Comparison(job.name, job.reference, job.reference, job.text)
    _sound(result, reference, judges)
    result.job = own
    if judges.style is not None and reference.analysis is not None:
        beta = at_25(reference.analysis)
        half = len(beta) // 2
        if half >= StyleSimilarityEncoder.SHORTEST:
            result.figures["style_sim"] = metrics.cosine(*(judges.style.embed(b) for b in (beta[:half], beta[half:])))
    if judges.identity is not None:
        vectors = _identities(reference, judges.identity)
        half = len(vectors) // 2
        if half:
            cosines = [metrics.cosine(a, b) for a, b in zip(vectors[:half], vectors[half:], strict=False)]
            result.figures["csim"] = float(np.mean(cosines))
    return result


def _identities(video: Track, identity: ArcFaceRecogniser) -> list[Array]:
    with VideoReader(video.path) as reader:
        seen = ((f.rgb(), m) for f, m in zip(reader.frames(), video.marks, strict=False) if f.index % EVERY == 0)
        return [identity.embed(picture, marks) for picture, marks in seen if not np.isnan(marks).any()]
