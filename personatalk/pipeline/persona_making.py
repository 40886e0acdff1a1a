"""Making of a persona: analyses the videos of a speaker and encodes the references that dubs of them need."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import MediaError
from ..faces.analysis import Analysis, analyse
from ..faces.selection import FaceSearch
from ..geometry.morphable_model import MorphableModel
from ..media.reader import VideoReader
from ..stage1.inference import style_sample
from ..stage2.face_crops import FaceCropper, choose_crop_size
from ..utils.arrays import Array, Image
from ..utils.progress import Progress, no_progress
from .footage import Arrays, Footage, reference_arrays
from .latent_cache import LatentCache, encode_frames
from .persona import MOUTH_SIZE, Persona, video_digest
from .rendering import choose_lip_frames
from .weights import Models, model_fingerprint

# Bytes that the texture latents of a video take at most, if nothing else is said: those of two minutes.
MAX_LATENT_BYTES = 2e9

# Images of the mouth that a persona keeps.
MOUTHS = 25

# Half the side of the image of a mouth, in sizes of the lips.
MOUTH_SPAN = 0.75


def make_persona(
    videos: Sequence[Path | str],
    models: Models,
    search: FaceSearch | None = None,
    progress: Progress | None = None,
    max_latent_bytes: float = MAX_LATENT_BYTES,
    folder: Path | None = None,
) -> Persona:
    """Make a persona from videos of one speaker.

    Args:
        videos: One or more, each with a usable face.
        models: The trained parts.
        search: Finds the speaker among several people; None for the largest face.
        progress: Told about the progress, as by `dub`.
        max_latent_bytes: Bytes that the texture latents of each video's frames may take, some 15 MB a second.
        folder: Where they find room until the persona is saved; None for where the system keeps such files.

    Raises:
        FaceError: A video shows no usable face.
        MediaError: A video cannot be read, or is given twice; or the disk is full.
    """
    search, on_progress = search or FaceSearch(), progress or no_progress
    footage: list[Footage] = []
    beta, alpha, mouths = [], [], []
    for video in videos:
        digest = video_digest(video)
        if any(known.sha256 == digest for known in footage):
            raise MediaError(f"{video}: is given twice; name every video once")
        with VideoReader(video) as reader:
            with search.open(reader, models.morphable, progress) as (tracker, follower):
                analysis = analyse(reader, tracker, models.morphable, progress, models.initialise, follower)
            lips, seen = _encode_lips(reader, analysis, models)
            latents = _encode_latents(reader, analysis, models, max_latent_bytes, folder, on_progress)
        footage.append(
            Footage(
                name=Path(video).name,
                sha256=digest,
                face=search.face,
                search=search.described(),
                analysis=analysis.arrays(),
                crop_size=choose_crop_size(models.renderer.size, analysis),
                lips=lips,
                latents=latents,
            )
        )
        beta.append(analysis.beta[analysis.usable])
        alpha += [shot.alpha for shot in analysis.shots if shot.alpha.any()]
        mouths += seen
    return Persona(
        beta=style_sample(np.concatenate(beta)),
        alpha=np.mean(alpha, axis=0).astype(np.float32),
        mouths=np.stack(mouths[:: max(1, len(mouths) // MOUTHS)][:MOUTHS]),
        models=models.fingerprint(),
        morphable=model_fingerprint(models.morphable),
        footage=footage,
    )


def _encode_lips(reader: VideoReader, analysis: Analysis, models: Models) -> tuple[dict[int, Arrays], list[Image]]:
    """Return the lip references of all shots that show the face, and images of the mouths of the first of them."""
    cropper = FaceCropper(models.morphable, analysis, choose_crop_size(models.renderer.size, analysis))
    lips: dict[int, Arrays] = {}
    mouths: list[Image] = []
    for shot, span in enumerate(analysis.shots):
        if not analysis.usable[span.start : span.stop].any():
            continue
        crops = list(cropper.fetch(reader, choose_lip_frames(models.morphable, analysis, shot)))
        lips[shot] = reference_arrays([cropper.encode(models.renderer, index, crop) for index, crop in crops])
        mouths = mouths or [_mouth(crop, cropper.vertices(index), models.morphable) for index, crop in crops]
    return lips, mouths


def _encode_latents(
    reader: VideoReader,
    analysis: Analysis,
    models: Models,
    max_bytes: float,
    folder: Path | None,
    on_progress: Progress,
) -> LatentCache | None:
    """Return texture latents of the frames; None if there is to be room for none."""
    if not max_bytes > 0:
        return None
    try:
        return encode_frames(reader, analysis, models, max_bytes, folder, on_progress)
    except OSError as error:
        raise MediaError(
            f"{folder or tempfile.gettempdir()}: no room for texture latents ({error.strerror or error})"
        ) from error


def _mouth(crop: Image, vertices: Array, model: MorphableModel) -> Image:
    """Return a small image of the mouth."""
    lips = vertices[model.lips, :2]
    low, high = lips.min(axis=0), lips.max(axis=0)
    centre, half = (low + high) / 2, MOUTH_SPAN * float((high - low).max())
    cut = cv2.getRectSubPix(crop, (max(2, round(2 * half)),) * 2, (float(centre[0]), float(centre[1])))
    small: Image = cv2.resize(cut, (MOUTH_SIZE, MOUTH_SIZE), interpolation=cv2.INTER_AREA)
    return small
