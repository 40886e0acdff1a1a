"""A persona: what makes a speaker's mouth that speaker's, in one file to keep, look at and use again.

It holds, for each video that it was made from, the analysis (faces, shots, geometry) and the encoded lip references of
every shot; for the speaker, a sample of expressions from which stage 1 embeds the style, and pictures of the lips. The
file is a `.safetensors` of numbers alone: reading one runs no code. It also has the texture latents of the frames, by
far the most of it, which are read as they are needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ..errors import MediaError, WeightsError
from ..faces.analysis import Analysis, analyse
from ..faces.selection import FaceSearch
from ..geometry.morphable_model import MorphableModel
from ..media.probe import VideoInfo
from ..media.reader import VideoReader
from ..stage1.inference import speaking_style, style_sample
from ..stage2.face_crops import FaceCropper
from ..stage2.geometry_map import STRIDE
from ..stage2.renderer import Reference
from ..utils import serialization
from ..utils.arrays import Array
from ..utils.files import atomic_write, same_file, sha256
from ..utils.progress import Progress, no_progress
from ..utils.serialization import LazyTensor
from .latent_cache import LARGEST, LatentCache, encode, table_layout
from .rendering import choose_lip_frames
from .weights import Models, fingerprint

KIND, VERSION = "persona", 3
TABLE = ".textures."
"""In the names of what is read as it is needed."""
PICTURE = 96
"""Side of the pictures of the lips."""
TEXTURES = 2e9
"""Bytes that texture latents of a video take at most, if nothing else is said: those of two minutes."""


@dataclass(frozen=True)
class Footage:
    """What a persona knows of one video.

    Attributes:
        name: Of the file.
        sha256: Of the file's content.
        face: Who was chosen in it; see `choice.parse_choice`.
        search: How it was looked for; see `people.FaceSearch.described`.
        analysis: As arrays; see `Analysis.arrays`.
        lips: Encoded lip references by shot, as arrays by part of `Reference` and the number of cells of each.
        kept_in: The persona's file, for messages.
        textures: Texture latents of its frames.
    """

    name: str
    sha256: str
    face: str | None
    search: str
    analysis: dict[str, npt.NDArray[Any]]
    lips: dict[int, dict[str, npt.NDArray[Any]]]
    kept_in: str = ""
    textures: LatentCache | None = None


@dataclass(frozen=True)
class Persona:
    """A speaker.

    Attributes:
        beta: Expressions that tell the style, (N, E).
        alpha: Shape, the mean over the shots, (I,): the template.
        pictures: The mouth from closed to open, uint8 (N, 96, 96, 3).
        made_by: Fingerprint of the models that encoded the lip references.
        face: Fingerprint of the morphable model.
        footage: The videos that it was made from.
    """

    beta: Array
    alpha: Array
    pictures: npt.NDArray[np.uint8]
    made_by: str
    face: str
    footage: list[Footage] = field(default_factory=list)

    def style(self, models: Models) -> torch.Tensor:
        """Style embedding (1, D)."""
        return speaking_style(models.stage1, models.morphable, self.beta)

    def openings(self, model: MorphableModel) -> Array:
        """Mouth opening of the sampled expressions, (N,)."""
        shape = model.shape(self.alpha)
        return np.array([model.mouth_opening(shape + model.offsets(b)) for b in self.beta], np.float32)

    def find(self, video: Path | str, search: FaceSearch | None = None) -> Footage | None:
        """What is known of a video, told by its content, where the same face is looked for; None of all others."""
        digest, wanted = _digest(video), (search or FaceSearch()).described()
        return next((f for f in self.footage if f.sha256 == digest and f.search == wanted), None)

    def lips(self, footage: Footage, models: Models) -> dict[int, list[Reference]]:
        """Lip references by shot; none where other models encoded them.

        Raises:
            WeightsError: They are not the renderer's.
        """
        if models.fingerprint() != self.made_by:
            return {}
        sizes = (models.stage2.channels, _cells(models))
        return {shot: references(arrays, footage, *sizes) for shot, arrays in footage.lips.items()}

    def textures(self, footage: Footage, models: Models) -> LatentCache | None:
        """Texture latents of the frames; None where there are none, or other models encoded them.

        Raises:
            WeightsError: They are not the renderer's.
        """
        if models.fingerprint() != self.made_by:
            return None
        return checked_textures(footage, models.stage2.channels, _cells(models))

    def save(self, path: Path | str) -> None:
        """Write the persona, whole or not at all.

        Raises:
            MediaError: The file cannot be written.
        """
        path = Path(path)
        arrays: dict[str, npt.NDArray[Any]] = {"beta": self.beta, "alpha": self.alpha, "pictures": self.pictures}
        videos: list[dict[str, Any]] = []
        tables: dict[str, serialization.RowSource] = {}
        for number, known in enumerate(self.footage):
            arrays |= {f"{number}.analysis.{name}": array for name, array in known.analysis.items()}
            for shot, parts in known.lips.items():
                arrays |= {f"{number}.lips.{shot}.{name}": array for name, array in parts.items()}
            if known.textures is not None:
                arrays[f"{number}.cells"] = known.textures.cells
                tables |= {f"{number}{TABLE}{name}": table for name, table in known.textures.tables.items()}
            said = {name: getattr(known, name) for name in ("name", "sha256", "face", "search")}
            videos.append(said | {"shots": sorted(known.lips)})
        config = {"made_by": self.made_by, "face": self.face, "videos": videos}
        try:
            with atomic_write(path) as draft:
                serialization.save_arrays(
                    draft, arrays, kind=KIND, version=VERSION, config=config, half=False, tables=tables
                )
        except OSError as error:
            raise MediaError(f"{path}: the persona cannot be written ({error.strerror or error})") from error

    @classmethod
    def load(cls, path: Path | str, model: MorphableModel) -> Persona:
        """Read a persona.

        Args:
            path: The file.
            model: The morphable model whose coefficients it must hold.

        Raises:
            WeightsError: The file is missing, damaged, of another version or for another morphable model.
        """
        arrays, config = serialization.load_arrays(path, kind=KIND, version=VERSION, tables=TABLE)
        try:
            persona = _from_arrays(arrays, config, str(path))
            if config["face"] != fingerprint(model):
                raise WeightsError(f"{path}: made with another morphable model; make the persona anew")
            sizes = (persona.beta.shape[1:], persona.alpha.shape)
            if sizes != ((model.num_expression,), (model.num_identity,)) or not len(persona.beta):
                raise WeightsError(f"{path}: made with another morphable model; make the persona anew")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise WeightsError(f"{path}: not a readable persona ({error!r}); make it anew") from error
        return persona


def _from_arrays(arrays: dict[str, npt.NDArray[Any]], config: dict[str, Any], path: str) -> Persona:
    footage = []
    for number, video in enumerate(config["videos"]):
        lips = {int(shot): {n: arrays[f"{number}.lips.{int(shot)}.{n}"] for n in names()} for shot in video["shots"]}
        prefix = f"{number}.analysis."
        analysis = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        face = None if video["face"] is None else str(video["face"])
        name, digest, search = (str(video[key]) for key in ("name", "sha256", "search"))
        textures = None
        if f"{number}.cells" in arrays:
            tables: dict[str, serialization.RowSource] = {
                n: LazyTensor(path, f"{number}{TABLE}{n}") for n in table_layout(0)
            }
            textures = LatentCache(arrays[f"{number}.cells"].astype(np.int64), tables)
        footage.append(Footage(name, digest, face, search, analysis, lips, path, textures))
    pictures = arrays["pictures"]
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (PICTURE, PICTURE, 3):
        raise ValueError(f"pictures {pictures.dtype} {pictures.shape}")
    beta, alpha = (arrays[name].astype(np.float32) for name in ("beta", "alpha"))
    return Persona(beta, alpha, pictures, str(config["made_by"]), str(config["face"]), footage)


def names() -> list[str]:
    """Names of the arrays of a shot's lip references."""
    return [name for part in Reference.table_widths(0) for name in (part, f"{part}_count")]


def _packed(references: Sequence[Reference]) -> dict[str, npt.NDArray[Any]]:
    packed: dict[str, npt.NDArray[Any]] = {}
    tables = [reference.pack() for reference in references]
    for part in Reference.table_widths(0):
        tensors = [table[part] for table in tables]
        packed[part] = torch.cat(tensors).cpu().numpy()
        packed[f"{part}_count"] = np.array([len(t) for t in tensors], np.int64)
    return packed


def references(arrays: dict[str, npt.NDArray[Any]], known: Footage, channels: int, most: int) -> list[Reference]:
    """Encoded references from their arrays, for a renderer with so many channels and cells.

    Raises:
        WeightsError: They do not fit each other.
    """
    parts = {}
    try:
        for part, width in Reference.table_widths(channels).items():
            tensor = torch.from_numpy(arrays[part].astype(np.float32))
            if tensor.ndim != 2 or tensor.shape[1] != width or not len(tensor):
                raise ValueError(f"{part} is no table of width {width}")
            if not bool((tensor.abs() < LARGEST).all()):
                raise ValueError(f"{part} holds numbers of {LARGEST:g} and more")
            counts = [int(c) for c in arrays[f"{part}_count"]]
            if max(counts, default=0) > most:
                raise ValueError(f"{part} has {max(counts)} cells of {most}")
            parts[part] = torch.split(tensor, counts)
        rows = zip(*parts.values(), strict=True)
        found = [Reference.unpack(dict(zip(parts, tensors, strict=True))) for tensors in rows]
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise WeightsError(f"{known.kept_in}: the lips of {known.name} are damaged ({error}); make it anew") from error
    if not found:
        raise WeightsError(f"{known.kept_in}: the lips of {known.name} are damaged (there are none); make it anew")
    return found


def _cells(models: Models) -> int:
    """Cells of the renderer's grid."""
    return (models.stage2.size // STRIDE) ** 2


def checked_textures(known: Footage, channels: int, most: int) -> LatentCache | None:
    """Texture latents of the frames, for a renderer with so many channels and cells; None where there are none.

    Raises:
        WeightsError: They do not fit each other.
    """
    if known.textures is not None:
        try:
            known.textures.check(channels, most, len(known.analysis["time"]))
        except ValueError as error:
            where = f"{known.kept_in}: the textures of {known.name}"
            raise WeightsError(f"{where} are damaged ({error}); make it anew") from error
    return known.textures


def _digest(video: Path | str) -> str:
    try:
        return sha256(video)
    except OSError as error:
        raise MediaError(f"{video}: cannot be read ({error.strerror})") from error


def check_name(path: Path, videos: Sequence[Path]) -> None:
    """Find out before the work that a persona cannot be written.

    Raises:
        MediaError: The name does not end in `.persona`, its folder is not there, or it is one of the videos.
    """
    if path.suffix != ".persona":
        raise MediaError(f"{path}: a persona's name ends in .persona")
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise MediaError(f"{path}: the folder does not exist, or the name is a folder's; choose another")
    for video in videos:
        if same_file(path, video):
            raise MediaError(f"{path}: is one of the videos; choose another name")


def make_persona(
    videos: Sequence[Path | str],
    models: Models,
    search: FaceSearch | None = None,
    progress: Progress | None = None,
    textures: float = TEXTURES,
    folder: Path | None = None,
) -> Persona:
    """Make a persona from videos of one speaker.

    Args:
        videos: One or more, each with a usable face.
        models: The trained parts.
        search: Finds the speaker among several people.
        progress: Told about the progress, as `pipeline.dub` tells it.
        textures: Bytes that the texture latents of each video's frames may take, some 15 MB a second.
        folder: Where they find room until the persona is saved, if not where the system keeps such files.

    Raises:
        FaceError: A video shows no usable face.
        MediaError: A video cannot be read, or is given twice; or the disk is full.
    """
    search = search or FaceSearch()
    footage: list[Footage] = []
    beta, alpha, pictures = [], [], []
    for video in videos:
        digest = _digest(video)
        if any(known.sha256 == digest for known in footage):
            raise MediaError(f"{video}: is given twice; name every video once")
        with VideoReader(video) as reader:
            with search.open(reader, models.morphable, progress) as (tracker, follower):
                analysis = analyse(reader, tracker, models.morphable, progress, models.initialise, follower)
            lips, seen = _encoded(reader, analysis, models)
            kept = _textures(reader, analysis, models, textures, folder, progress)
        said = (Path(video).name, digest, search.face, search.described())
        footage.append(Footage(*said, analysis.arrays(), lips, textures=kept))
        beta.append(analysis.beta[analysis.usable])
        alpha += [shot.alpha for shot in analysis.shots if shot.alpha.any()]
        pictures += seen
    together = np.concatenate(beta)
    shown = pictures[:: max(1, len(pictures) // 25)][:25]
    return Persona(
        style_sample(together),
        np.mean(alpha, axis=0).astype(np.float32),
        np.stack(shown),
        models.fingerprint(),
        fingerprint(models.morphable),
        footage,
    )


def _encoded(
    reader: VideoReader, analysis: Analysis, models: Models
) -> tuple[dict[int, dict[str, npt.NDArray[Any]]], list[npt.NDArray[np.uint8]]]:
    """Lip references of all shots that show the face, and small pictures of the mouths of the first."""
    crops = FaceCropper(models.morphable, analysis, models.stage2.size)
    lips: dict[int, dict[str, npt.NDArray[Any]]] = {}
    pictures: list[npt.NDArray[np.uint8]] = []
    for shot, span in enumerate(analysis.shots):
        if not analysis.usable[span.start : span.stop].any():
            continue
        found = list(crops.fetch(reader, choose_lip_frames(models.morphable, analysis, shot)))
        lips[shot] = _packed([crops.encode(models.renderer, index, crop) for index, crop in found])
        pictures = pictures or [_mouth(crop, crops.vertices(index), models.morphable) for index, crop in found]
    return lips, pictures


def _textures(
    reader: VideoReader, analysis: Analysis, models: Models, most: float, folder: Path | None, progress: Progress | None
) -> LatentCache | None:
    """Texture latents of the frames, if there is to be room for any."""
    if not most > 0:
        return None
    try:
        return encode(reader, analysis, models, most, folder, progress or no_progress)
    except OSError as error:
        raise MediaError(
            f"{folder or tempfile.gettempdir()}: no room for texture latents ({error.strerror or error})"
        ) from error


def _mouth(crop: npt.NDArray[np.uint8], vertices: Array, model: MorphableModel) -> npt.NDArray[np.uint8]:
    lips = vertices[model.lips, :2]
    low, high = lips.min(axis=0), lips.max(axis=0)
    centre, half = (low + high) / 2, 0.75 * float((high - low).max())
    cut = cv2.getRectSubPix(crop, (max(2, round(2 * half)),) * 2, (float(centre[0]), float(centre[1])))
    small: npt.NDArray[np.uint8] = cv2.resize(cut, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    return small


def analysis_of(footage: Footage, info: VideoInfo, model: MorphableModel) -> Analysis:
    """The analysis of a video that a persona knows.

    Args:
        footage: What is known.
        info: The video's file.
        model: The morphable model.

    Raises:
        WeightsError: The persona's tables are damaged.
    """
    try:
        return Analysis.from_arrays(info, footage.analysis, model)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        where = f"{footage.kept_in}: the analysis of {footage.name}"
        raise WeightsError(f"{where} is damaged ({error}); make it anew") from error
