"""A persona: what makes a speaker's mouth that speaker's, in one file to keep, look at and use again.

It holds, for each video that it was made from, the analysis (faces, shots, geometry) and the encoded lip references of
every shot; for the speaker, a sample of expressions from which stage 1 embeds the style, and images of the mouth. The
file is a `.safetensors` of numbers alone: reading one runs no code. It also has the texture latents of the frames, by
far the most of it, which are read as they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MediaError, OutputError, WeightsError
from ..faces.selection import FaceSearch
from ..geometry.morphable_model import MorphableModel
from ..stage1.inference import speaking_style
from ..stage2.geometry_map import CELL_SIZE
from ..stage2.reference_cells import Reference
from ..utils import serialization
from ..utils.arrays import Array
from ..utils.files import atomic_write, same_file, sha256
from .footage import LATENT_TABLE, Footage
from .latent_cache import LatentCache
from .weights import Models, model_fingerprint

KIND, VERSION = "persona", 5
SUFFIX = ".persona"

# Side in pixels of the images of the mouth.
MOUTH_SIZE = 96


@dataclass(frozen=True)
class Persona:
    """A speaker.

    Attributes:
        beta: Expressions that tell the style, (N, E).
        alpha: Shape, the mean over the shots, (I,): the template.
        mouths: Images of the mouth from closed to open, uint8 (N, 96, 96, 3).
        models: Fingerprint of the models that encoded the lip references.
        morphable: Fingerprint of the morphable model.
        footage: What is kept of each video that it was made from.
    """

    beta: Array
    alpha: Array
    mouths: npt.NDArray[np.uint8]
    models: str
    morphable: str
    footage: list[Footage] = field(default_factory=list)

    def style(self, models: Models) -> Array:
        """Return the style embedding (1, D)."""
        return speaking_style(models.stage1, models.morphable, self.beta)

    def openings(self, model: MorphableModel) -> Array:
        """Return the mouth opening of the sampled expressions in model units, (N,)."""
        shape = model.shape(self.alpha)
        return np.array([model.mouth_opening(shape + model.offsets(b)) for b in self.beta], np.float32)

    def find(self, video: Path | str, search: FaceSearch | None = None) -> Footage | None:
        """Return what is kept of a video.

        Args:
            video: The video, which is known by its content.
            search: The search for the face; None for the largest face.

        Returns:
            None if the persona was not made from this video, or for another face.

        Raises:
            MediaError: The video cannot be read.
        """
        digest, wanted = video_digest(video), (search or FaceSearch()).described()
        return next((f for f in self.footage if f.sha256 == digest and f.search == wanted), None)

    def lips(self, footage: Footage, models: Models) -> dict[int, list[Reference]]:
        """Return lip references by shot; none where other models encoded them.

        Raises:
            WeightsError: They are damaged.
        """
        return footage.load_lips(*_sizes(models, footage)) if self.fits(models) else {}

    def latents(self, footage: Footage, models: Models) -> LatentCache | None:
        """Return texture latents of the frames; None where there are none, or other models encoded them.

        Raises:
            WeightsError: They are damaged.
        """
        return footage.load_latents(*_sizes(models, footage)) if self.fits(models) else None

    def fits(self, models: Models) -> bool:
        """Return whether these models encoded the lip references and the texture latents."""
        return models.fingerprint() == self.models

    def save(self, path: Path | str) -> None:
        """Write the persona, whole or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        path = Path(path)
        arrays: dict[str, npt.NDArray[Any]] = {"beta": self.beta, "alpha": self.alpha, "pictures": self.mouths}
        tables: dict[str, serialization.RowSource] = {}
        videos: list[dict[str, Any]] = []
        for number, footage in enumerate(self.footage):
            more, more_tables, rest = footage.to_arrays(number)
            arrays |= more
            tables |= more_tables
            videos.append(rest)
        config = {"made_by": self.models, "face": self.morphable, "videos": videos}
        try:
            with atomic_write(path) as draft:
                serialization.save_arrays(
                    draft, arrays, kind=KIND, version=VERSION, config=config, half=False, tables=tables
                )
        except OSError as error:
            raise OutputError(f"{path}: the persona cannot be written ({error.strerror or error})") from error

    @classmethod
    def load(cls, path: Path | str, model: MorphableModel) -> Persona:
        """Read a persona.

        Args:
            path: The file.
            model: The morphable model whose coefficients it must hold.

        Raises:
            WeightsError: The file is missing, damaged, of another version or for another morphable model.
        """
        arrays, config = serialization.load_arrays(path, kind=KIND, version=VERSION, tables=LATENT_TABLE)
        try:
            persona = cls._from_arrays(arrays, config, str(path))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise WeightsError(f"{path}: not a readable persona ({error!r}); make it anew") from error
        sizes = (persona.beta.shape[1:], persona.alpha.shape)
        wanted = ((model.num_expression,), (model.num_identity,))
        if persona.morphable != model_fingerprint(model) or sizes != wanted or not len(persona.beta):
            raise WeightsError(f"{path}: made with another morphable model; make the persona anew")
        return persona

    @classmethod
    def _from_arrays(cls, arrays: dict[str, npt.NDArray[Any]], config: dict[str, Any], path: str) -> Persona:
        mouths = arrays["pictures"]
        if mouths.dtype != np.uint8 or mouths.ndim != 4 or mouths.shape[1:] != (MOUTH_SIZE, MOUTH_SIZE, 3):
            raise ValueError(f"images {mouths.dtype} {mouths.shape}")
        return cls(
            beta=arrays["beta"].astype(np.float32),
            alpha=arrays["alpha"].astype(np.float32),
            mouths=mouths,
            models=str(config["made_by"]),
            morphable=str(config["face"]),
            footage=[Footage.from_arrays(number, arrays, rest, path) for number, rest in enumerate(config["videos"])],
        )


def check_persona_path(path: Path, videos: Sequence[Path]) -> None:
    """Refuse a path to which a persona cannot be written.

    Raises:
        OutputError: The name does not end in `.persona`, its folder does not exist, or it is one of the videos.
    """
    if path.suffix != SUFFIX:
        raise OutputError(f"{path}: a persona's name ends in {SUFFIX}")
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise OutputError(f"{path}: the folder does not exist, or the name is a folder's; choose another")
    for video in videos:
        if same_file(path, video):
            raise OutputError(f"{path}: is one of the videos; choose another name")


def video_digest(video: Path | str) -> str:
    """Return the SHA-256 of a video's content.

    Raises:
        MediaError: It cannot be read.
    """
    try:
        return sha256(video)
    except OSError as error:
        raise MediaError(f"{video}: cannot be read ({error.strerror})") from error


def _sizes(models: Models, footage: Footage) -> tuple[int, int]:
    """Return the renderer's channels and the cells of the footage's grid."""
    return models.renderer.channels, (footage.crop_size // CELL_SIZE) ** 2
