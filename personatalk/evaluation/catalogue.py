"""The metrics of the report, each declared once: its name, its column, and how it is measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import FaceError
from ..media.reader import VideoReader
from ..stage1.style_similarity import StyleSimilarityEncoder
from . import metrics
from .pair import FramePair, MetricNetworks, Pair
from .phones import aligned_phones
from .silence import frames_with_speech, long_silence, motion_in_silence, open_share, spread
from .tracks import crops_at_25, expression_at_25

# Frames from one to the next at which networks look.
EVERY = 5
# Margin of LR-ASD's crop: the centre half of the authors' crop, which is 1.8 times as wide as the face.
SPEAKING_MARGIN = -0.05

OfPair = Callable[[Pair], "float | None"]


@dataclass(frozen=True)
class Metric:
    """A figure of the report; `pair`, `frame`, `pooled` and `combine` say how it is measured.

    Attributes:
        name: Its name in CSV and JSON.
        title: Its title for people.
        better: "higher", "lower" or "1", the best value; "" where none is better.
        needs: What it needs beside the videos, for people; "" for nothing.
        digits: Digits after the point.
        network: Field of `MetricNetworks` that it needs; "" for none.
        words: "same" or "other" where it needs a pair with the same or with mismatched words.
        pair: Measures a pair; None where it does not apply.
        frame: Measures a frame; its mean counts.
        every: Frames from one to the next that are measured.
        pooled: Whether it is the Fréchet distance of the network's features of all clips together.
        truth: Value of the reference against itself, or how it is measured then; None where it has none.
        combine: Kind of dub that `--self-dub` makes beside, and the value from the figures of the clip's own dub and
            of that one.
        in_table: Whether it has a column in the table.
    """

    name: str
    title: str
    better: Literal["higher", "lower", "1", ""] = ""
    needs: str = ""
    digits: int = 3
    network: str = ""
    words: Literal["same", "other", "any"] = "any"
    pair: OfPair | None = None
    frame: Callable[[FramePair, MetricNetworks], float | None] | None = None
    every: int = 1
    pooled: bool = False
    truth: float | OfPair | None = None
    combine: tuple[str, Callable[[dict[str, float], dict[str, float]], float]] | None = None
    in_table: bool = True

    def applies(self, pair: Pair) -> bool:
        """Return whether the network that it needs is there and the words are those that it is for."""
        if self.network and getattr(pair.networks, self.network) is None:
            return False
        return self.words == "any" or (self.words == "other") == pair.job.mismatched


def _open_frames(pair: Pair) -> float:
    """Share of the generated frames whose lips are apart: LipLeak where the speech is silent."""
    return open_share(metrics.opening(pair.generated.landmarks), metrics.opening(pair.reference.landmarks))


def _silent_mouth(pair: Pair) -> float | None:
    """Share of the frames without speech whose lips are closed; None where there is speech throughout."""
    silent = ~frames_with_speech(pair.generated, pair.samples)
    if not long_silence(pair.generated, silent):
        return None
    opening, reference = (metrics.opening(track.landmarks) for track in (pair.generated, pair.reference))
    return 1 - open_share(opening[silent], reference)


def _articulation(pair: Pair) -> float:
    """Spread of the generated opening over the reference's."""
    pair.lips  # noqa: B018 - raises where too few frames show both faces
    known = ~np.isnan(pair.landmarks[0][:, 0, 0]) & ~np.isnan(pair.landmarks[1][:, 0, 0])
    reference, generated = (float(np.nanstd(metrics.opening(m[known]))) for m in pair.landmarks)
    return generated / max(reference, 1e-9)


def _jitter(pair: Pair) -> float:
    """Jitter of the generated lips over the reference's."""
    reference, generated, _ = pair.lips
    return metrics.jitter(generated) / max(metrics.jitter(reference), 1e-9)


def _closure(pair: Pair) -> float | None:
    """Gap at B, M and P over that at open vowels, where the text is known."""
    if not pair.job.text:
        return None
    phones = aligned_phones(pair.samples, pair.job.text)
    return metrics.closure(metrics.opening(pair.generated.landmarks), pair.generated.times, phones)[0]


def _closure_seen(pair: Pair) -> float | None:
    """Gap where the reference's lips are closed over that where they are wide; None where it has no such frames."""
    real, generated = (metrics.opening(landmarks) for landmarks in pair.landmarks)
    return metrics.closure_seen(real, generated)


def _speaking(pair: Pair) -> float:
    """LR-ASD's score of the generated video."""
    assert pair.networks.speaking is not None
    return pair.networks.speaking.score(crops_at_25(pair.generated, SPEAKING_MARGIN), pair.samples)


def _style(pair: Pair) -> float:
    """Cosine of both videos' speaking styles."""
    assert pair.networks.style is not None
    if pair.reference.analysis is None or pair.generated.analysis is None:
        raise FaceError("no usable face")
    expressions = [expression_at_25(analysis) for analysis in (pair.reference.analysis, pair.generated.analysis)]
    if min(map(len, expressions)) < StyleSimilarityEncoder.SHORTEST:
        raise FaceError("too few frames with a face")
    return metrics.cosine(*(pair.networks.style.embed(beta) for beta in expressions))


def _style_of_halves(pair: Pair) -> float | None:
    """Cosine of the speaking styles in the two halves of the reference: a copy of it would have 1 by definition."""
    if pair.networks.style is None or pair.reference.analysis is None:
        return None
    beta = expression_at_25(pair.reference.analysis)
    half = len(beta) // 2
    if half < StyleSimilarityEncoder.SHORTEST:
        return None
    return metrics.cosine(*(pair.networks.style.embed(part) for part in (beta[:half], beta[half:])))


def _identity(frame: FramePair, networks: MetricNetworks) -> float | None:
    """Cosine of the identities in a frame, where both show a face."""
    assert networks.identity is not None
    if any(np.isnan(landmarks).any() for landmarks in frame.landmarks):
        return None
    return metrics.cosine(*(networks.identity.embed(*seen) for seen in zip(frame.images, frame.landmarks, strict=True)))


def _identity_of_halves(pair: Pair) -> float | None:
    """Mean cosine of the identities in the first and second half of the reference."""
    identity, video = pair.networks.identity, pair.reference
    if identity is None:
        return None
    with VideoReader(video.path) as reader:
        seen = ((f.rgb(), m) for f, m in zip(reader.frames(), video.landmarks, strict=False) if f.index % EVERY == 0)
        vectors = [identity.embed(image, landmarks) for image, landmarks in seen if not np.isnan(landmarks).any()]
    half = len(vectors) // 2
    cosines = [metrics.cosine(a, b) for a, b in zip(vectors[:half], vectors[half:], strict=False)]
    return float(np.mean(cosines)) if half else None


def _perceptual(frame: FramePair, networks: MetricNetworks) -> float:
    assert networks.perceptual is not None
    return networks.perceptual.distance(*frame.boxes)


def _untouched(frame: FramePair, networks: MetricNetworks) -> float | None:
    return metrics.psnr(*frame.images, frame.outside) if frame.outside.any() else None


def _silence(pair: Pair) -> float:
    return motion_in_silence(pair.generated, pair.samples)


def _faces(pair: Pair) -> float:
    return float(pair.generated.has_face.mean())


# In the order of Table 1 of the paper, then what the field asks since. The definitions are in docs/evaluation.md.
METRICS = (
    Metric("ssim", "SSIM", "higher", words="same", frame=lambda frame, _: metrics.ssim(*frame.boxes), truth=1.0),
    Metric(
        "psnr",
        "PSNR",
        "higher",
        digits=2,
        words="same",
        frame=lambda frame, _: metrics.psnr(*frame.boxes),
        truth=math.inf,
    ),
    Metric("fid", "FID", "lower", "--inception", 2, "inception", pooled=True, every=EVERY, truth=0.0),
    Metric(
        "lmd",
        "LMD",
        "lower",
        digits=2,
        words="same",
        pair=lambda pair: float(np.nanmean(metrics.lip_distance(*pair.lips))),
        truth=0.0,
    ),
    Metric(
        "sync_score",
        "SyncScore",
        "higher",
        "--syncnet",
        2,
        "sync",
        pair=lambda pair: pair.sync.confidence,
        truth=lambda pair: pair.sync.confidence,
    ),
    Metric(
        "lse_d",
        "LSE-D",
        "lower",
        "--syncnet",
        2,
        "sync",
        pair=lambda pair: pair.sync.distance,
        truth=lambda pair: pair.sync.distance,
    ),
    Metric(
        "sync_r",
        "sync r",
        "higher",
        digits=2,
        network="hearing",
        pair=lambda pair: pair.heard_sync.r,
        truth=lambda pair: pair.heard_sync.r,
    ),
    Metric(
        "sync_offset",
        "sync offset, ms",
        digits=0,
        network="hearing",
        pair=lambda pair: 1000 * pair.heard_sync.offset_seconds,
        truth=lambda pair: 1000 * pair.heard_sync.offset_seconds,
    ),
    Metric("speaking", "active speaker", "higher", "--active-speaker", 2, "speaking", pair=_speaking, truth=_speaking),
    Metric(
        "lpips",
        "LPIPS",
        "lower",
        "--lpips",
        network="perceptual",
        words="same",
        frame=_perceptual,
        every=EVERY,
        truth=0.0,
    ),
    Metric(
        "csim",
        "CSIM",
        "higher",
        "--arcface",
        network="identity",
        frame=_identity,
        every=EVERY,
        truth=_identity_of_halves,
    ),
    Metric("style_sim", "StyleSim", "higher", network="style", pair=_style, truth=_style_of_halves),
    Metric(
        "opening_r",
        "opening r",
        "higher",
        words="same",
        pair=lambda pair: metrics.opening_correlation(*pair.openings, pair.lag),
        truth=1.0,
    ),
    Metric("lag", "lag", digits=1, words="same", pair=lambda pair: pair.lag, truth=0.0),
    Metric(
        "opening_r0",
        "r, lag left in",
        "higher",
        words="same",
        pair=lambda pair: metrics.opening_correlation(*pair.openings),
    ),
    Metric("articulation", "articulation", "1", digits=2, words="same", pair=_articulation, truth=1.0),
    Metric("jitter", "jitter", "1", digits=2, words="same", pair=_jitter, truth=1.0),
    Metric("closure", "closure B M P", "lower", "the text", 2, pair=_closure, truth=_closure),
    Metric(
        "closure_seen",
        "closure, seen",
        "lower",
        digits=2,
        words="same",
        pair=_closure_seen,
        truth=_closure_seen,
    ),
    Metric("silence", "motion in silence", "lower", "a pause", 2, pair=_silence, truth=_silence),
    Metric(
        "silent_dub",
        "silent dub",
        "lower",
        "--self-dub",
        2,
        combine=("silent", lambda own, silent: silent["spread"] / max(own["spread"], 1e-9)),
    ),
    Metric(
        "lip_leak",
        "LipLeak",
        "lower",
        "--self-dub",
        combine=("silent", lambda _, silent: silent["open_frames"]),
    ),
    Metric("silent_mouth", "silent-mouth score", "higher", "a pause", 2, pair=_silent_mouth, truth=_silent_mouth),
    Metric(
        "leakage",
        "leakage r",
        "lower",
        "--self-dub",
        2,
        words="other",
        pair=lambda pair: metrics.opening_correlation(*pair.openings),
        combine=("mismatched", lambda _, mismatched: mismatched["leakage"]),
    ),
    Metric(
        "sync_r_other",
        "sync r, other words",
        "higher",
        "--self-dub",
        2,
        combine=("mismatched", lambda _, mismatched: mismatched["sync_r"]),
    ),
    Metric("fvd", "FVD", "lower", "--i3d", 1, "video", pooled=True, truth=0.0),
    Metric("untouched", "PSNR outside the face", "higher", digits=2, frame=_untouched),
    Metric("faces", "frames with a face", "1", pair=_faces, truth=_faces),
    Metric(
        "spread",
        "spread of the opening",
        in_table=False,
        pair=lambda pair: spread(metrics.opening(pair.generated.landmarks)),
    ),
    Metric("open_frames", "frames with parted lips", in_table=False, pair=_open_frames),
    Metric(
        "frames",
        "frames",
        digits=0,
        in_table=False,
        pair=lambda pair: len(pair.generated.times),
        truth=lambda pair: len(pair.reference.times),
    ),
)
