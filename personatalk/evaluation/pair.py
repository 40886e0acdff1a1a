"""One generated video beside its reference, with what several metrics share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..audio.rates import SAMPLE_RATE
from ..errors import FaceError
from ..faces.recognition import ArcFaceRecogniser
from ..media.audio import read_speech
from ..pipeline.sync import SyncMeter, VideoSync
from ..stage1.style_similarity import StyleSimilarityEncoder
from ..utils.arrays import Array, Image
from ..utils.correlation import without_lag
from . import metrics
from .active_speaker import ActiveSpeaker
from .metrics import Series
from .networks import InceptionNetwork, PerceptualNetwork, VideoFeatures
from .syncnet import Sync, SyncNet, sync
from .tracks import Track, crops_at_25


@dataclass(frozen=True)
class MetricNetworks:
    """The networks that metrics need; None for those that are not there.

    Attributes:
        identity: For CSIM.
        perceptual: For LPIPS.
        inception: For FID.
        video: For FVD.
        sync: For SyncScore and LSE-D.
        speaking: For the active-speaker score.
        style: For StyleSim.
        hearing: The package's own meter of sync.
    """

    identity: ArcFaceRecogniser | None = None
    perceptual: PerceptualNetwork | None = None
    inception: InceptionNetwork | None = None
    video: VideoFeatures | None = None
    sync: SyncNet | None = None
    speaking: ActiveSpeaker | None = None
    style: StyleSimilarityEncoder | None = None
    hearing: SyncMeter | None = None


@dataclass(frozen=True)
class Comparison:
    """A pair of videos to compare.

    Attributes:
        name: Of the pair in the report.
        reference: The real video.
        generated: The generated video.
        text: The words spoken in the generated video, if known, for the closure at B, M and P.
        mismatched: Whether the generated video has other words than the reference. Following the reference's mouth is
            leakage then, and only what needs no real mouth is measured.
    """

    name: str
    reference: Path
    generated: Path
    text: str = ""
    mismatched: bool = False


class Pair:
    """Both tracks of a comparison; what metrics share is computed when it is first needed.

    Args:
        job: The comparison.
        networks: The networks that are there.
        reference: Track of the reference.
        generated: Track of the generated video.
    """

    def __init__(self, job: Comparison, networks: MetricNetworks, reference: Track, generated: Track) -> None:
        self.job, self.networks, self.reference, self.generated = job, networks, reference, generated

    @cached_property
    def shown(self) -> npt.NDArray[np.int64]:
        """Generated frame at the time of each reference frame, (T,); -1 for none."""
        return metrics.nearest(self.reference.times, self.generated.times)

    @cached_property
    def generated_landmarks(self) -> Array:
        """Landmarks of the generated video at the times of the reference, (T, 478, 2)."""
        known = (self.shown >= 0)[:, None, None]
        return np.where(known, self.generated.landmarks[self.shown], np.nan)

    @cached_property
    def openings(self) -> tuple[Series, Series]:
        """Mouth openings of reference and generated video at the times of the reference, (T,) each."""
        return metrics.opening(self.reference.landmarks), metrics.opening(self.generated_landmarks)

    @cached_property
    def lag(self) -> int:
        """Frames by which the generated mouth is late."""
        return metrics.best_lag(*self.openings)

    @cached_property
    def landmarks(self) -> tuple[Array, Array]:
        """Landmarks of both videos with the lag undone, (N, 478, 2) each."""
        return without_lag(self.reference.landmarks, self.generated_landmarks, self.lag)

    @cached_property
    def lips(self) -> tuple[Array, Array, Series]:
        """Lips of both videos in the reference's face, and its eye distance; see `metrics.aligned_lips`.

        Raises:
            FaceError: Too few frames show both faces.
        """
        try:
            return metrics.aligned_lips(*self.landmarks)
        except ValueError as error:
            raise FaceError(str(error)) from error

    @cached_property
    def samples(self) -> Array:
        """Audio of the generated video at 16 kHz, (N,).

        Raises:
            MediaError: It has none, or it cannot be read.
        """
        return read_speech(self.generated.path, SAMPLE_RATE)

    @cached_property
    def heard_sync(self) -> VideoSync:
        """Sync of the generated video with its own audio by the package's meter; only where that is there.

        Raises:
            FaceError: No usable face for long enough.
        """
        assert self.networks.hearing is not None
        if self.generated.analysis is None:
            raise FaceError("no usable face")
        return self.networks.hearing.measure(self.generated.analysis, self.samples)

    @cached_property
    def sync(self) -> Sync:
        """SyncNet's scores of the generated video; only where the network is there."""
        assert self.networks.sync is not None
        return sync(self.networks.sync, crops_at_25(self.generated), self.samples)


@dataclass(frozen=True)
class FramePair:
    """One frame of both videos, in the reference's pixels.

    Attributes:
        images: Reference and generated frame, uint8 (H, W, 3).
        landmarks: Their landmarks, (478, 2) each; NaN without a face.
        boxes: The face box of both, uint8 (h, w, 3).
        outside: Pixels outside the face box that both show, (H, W).
    """

    images: tuple[Image, Image]
    landmarks: tuple[Array, Array]
    boxes: tuple[Image, Image]
    outside: npt.NDArray[np.bool_]
