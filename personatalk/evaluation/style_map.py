"""Figure 5 of the paper: a map of speaking styles, originals and dubs of several speakers, with a silhouette score."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FaceError, PersonaTalkError
from ..geometry.morphable_model import MorphableModel
from ..media.codecs import VIDEO_SUFFIXES
from ..stage1.style_similarity import StyleSimilarityEncoder
from ..utils.arrays import Array
from .tracks import expression_at_25, track

# Points that a map needs.
MIN_POINTS = 4


@dataclass(frozen=True)
class Point:
    """Speaking style of a stretch of a video.

    Attributes:
        speaker: Name of its speaker.
        generated: Whether it is a dub.
        style: Unit vector, (D,).
    """

    speaker: str
    generated: bool
    style: Array


def points_of(
    video: Path, speaker: str, generated: bool, encoder: StyleSimilarityEncoder, model: MorphableModel
) -> list[Point]:
    """Return the styles of a video's windows of about four seconds.

    Raises:
        FaceError: It shows no usable face long enough.
        MediaError: It cannot be read.
    """
    analysis = track(video, model).analysis
    beta = np.zeros((0, 0), np.float32) if analysis is None else expression_at_25(analysis)
    if len(beta) < encoder.SHORTEST:
        raise FaceError(f"{video}: no usable face in {encoder.SHORTEST} frames or more")
    parts = np.array_split(beta, max(1, round(len(beta) / encoder.LENGTH)))
    return [Point(speaker, generated, encoder.embed(part)) for part in parts]


def videos_of(folder: Path, speakers: dict[str, str]) -> list[tuple[Path, str]]:
    """List the videos of a folder, each with its speaker.

    The speaker is the one that the table names for the video (by its path in the folder, or its name), or for the
    longest name that the video's begins with, up to a separator (dubs are commonly called after their source);
    otherwise the folder that the video lies in, or the video's name up to the first dot.

    Raises:
        PersonaTalkError: The folder holds no video, or two speakers fit one.
    """
    files = [f for f in sorted(folder.rglob("*")) if f.suffix.lower() in VIDEO_SUFFIXES]
    if not files:
        raise PersonaTalkError(f"{folder}: no folder with videos")
    table = {re.sub(r"\.\w{2,4}$", "", name): speaker for name, speaker in speakers.items()}

    def speaker_of(file: Path) -> str:
        own = file.relative_to(folder).as_posix()
        fits = {n for n in table for text in (own, file.name) if re.match(re.escape(n) + r"([._-]|$)", text)}
        if fits:
            longest = max(map(len, fits))
            found = {table[n] for n in fits if len(n) == longest}
            if len(found) > 1:
                raise PersonaTalkError(f"{file}: may be {' or '.join(sorted(found))}; name it after one source")
            return found.pop()
        return file.parent.name if file.parent != folder else file.name.partition(".")[0]

    return [(file, speaker_of(file)) for file in files]


def silhouette(points: list[Point]) -> float:
    """Return the speakers' mean silhouette by cosine distance, -1..1; NaN for one speaker (Rousseeuw 1987)."""
    speakers = [p.speaker for p in points]
    if not 1 < len(set(speakers)) < len(points):
        return float("nan")
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(np.stack([p.style for p in points]), speakers, metric="cosine"))


def nearest_original(points: list[Point]) -> float:
    """Return the share of dubs whose nearest original speaker, by mean style, is their own; NaN without dubs."""
    centres = {
        s: np.mean([p.style for p in points if p.speaker == s and not p.generated], axis=0)
        for s in {p.speaker for p in points if not p.generated}
    }
    dubs = [p for p in points if p.generated and p.speaker in centres]
    if not dubs:
        return float("nan")
    hits = [
        max(centres, key=lambda s: float(p.style @ centres[s] / np.linalg.norm(centres[s]))) == p.speaker for p in dubs
    ]
    return float(np.mean(hits))


def place(points: list[Point], seed: int = 0) -> Array:
    """Return places on the map, (N, 2), by t-SNE (van der Maaten and Hinton 2008).

    Raises:
        PersonaTalkError: There are too few points, or scikit-learn is not installed.
    """
    if len(points) < MIN_POINTS:
        raise PersonaTalkError(f"{len(points)} stretches of video are too few for a map; give more videos")
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise PersonaTalkError("a style map needs scikit-learn; install: pip install 'personatalk[eval]'") from error
    perplexity = min(30.0, (len(points) - 1) / 3)
    styles = np.stack([p.style for p in points])
    places: Array = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=seed).fit_transform(styles)
    return places


def draw(points: list[Point], places: Array, path: Path) -> None:
    """Draw the map: a colour for each speaker, dots for originals and crosses for dubs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    speakers = sorted({p.speaker for p in points})
    colours = plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(speakers)))
    for speaker, colour in zip(speakers, colours, strict=True):
        for generated, marker in ((False, "o"), (True, "x")):
            chosen = [i for i, p in enumerate(points) if p.speaker == speaker and p.generated == generated]
            label = (
                speaker if not generated or not any(p.speaker == speaker and not p.generated for p in points) else None
            )
            if chosen:
                axes.scatter(places[chosen, 0], places[chosen, 1], color=colour, marker=marker, s=36, label=label)
    axes.set(xticks=[], yticks=[], title="Speaking styles: originals as dots, dubs as crosses")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
