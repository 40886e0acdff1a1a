"""The trained parts, loaded together so that they fit each other."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from ..geometry import rasterizer
from ..geometry.fitting import Initialise
from ..geometry.morphable_model import MorphableModel
from ..stage1.runtime import GeometryRuntime
from ..stage2 import sparse_attention
from ..stage2.runtime import RendererRuntime
from ..utils import memory


@dataclass(frozen=True)
class Models:
    """The trained parts.

    Attributes:
        morphable: The morphable model.
        stage1: The geometry generator, trained on that model's mesh.
        renderer: The renderer.
        initialise: The learned initialisation of the geometry; None for the default one.
    """

    morphable: MorphableModel
    stage1: GeometryRuntime
    renderer: RendererRuntime
    initialise: Initialise | None = None

    @classmethod
    def load(
        cls,
        morphable: Path | str | None = None,
        stage1: Path | str | None = None,
        stage2: Path | str | None = None,
        deep3d: Path | str | None = None,
        device: str = "auto",
    ) -> Models:
        """Read the weights; those of the package where no path is given.

        Args:
            morphable: A morphable model of ours, or the Basel Face Model as `BFM_model_front.mat`.
            stage1: Weights of the geometry generator.
            stage2: Weights of the renderer.
            deep3d: Deep3DFaceRecon's checkpoint, which initialises the geometry of the Basel Face Model.
            device: What the networks run on; see `devices.Device`.

        Raises:
            WeightsError: A file is missing, damaged, of another version, or does not fit the others.
            PersonaTalkError: The device is not there.
        """
        memory.share_arenas()
        face, initialise = load_face_model(morphable, deep3d)
        # Side by side: the networks' libraries leave the interpreter to others for most of the time.
        with ThreadPoolExecutor() as pool:
            generator = pool.submit(GeometryRuntime, stage1, device)
            renderer = pool.submit(RendererRuntime, stage2, device)
            ready = pool.submit(_compile)
        models = cls(face, generator.result(), renderer.result(), initialise)
        ready.result()
        models.stage1.check_fits(models.morphable)
        memory.give_back()
        return models

    def fingerprint(self) -> str:
        """Return the SHA-256 of the networks' weights files and of all numbers of the morphable model."""
        digest = hashlib.sha256(model_fingerprint(self.morphable).encode())
        digest.update(type(self.initialise).__name__.encode())
        for network in (self.stage1, self.renderer):
            digest.update(network.digest.encode())
        return digest.hexdigest()


def _compile() -> None:
    """Load the compiled functions before the work starts: compiling them would make the first frame wait."""
    rasterizer.warm_up()
    sparse_attention.warm_up()


def load_face_model(
    morphable: Path | str | None, deep3d: Path | str | None = None
) -> tuple[MorphableModel, Initialise | None]:
    """Read a morphable model of ours or of Basel, and the initialisation that goes with it (None: the default one).

    Raises:
        WeightsError: A file is missing, damaged or of another kind, or the two do not belong together.
    """
    if morphable is None or Path(morphable).suffix != ".mat":
        if deep3d is not None:
            raise WeightsError(f"{deep3d}: Deep3DFaceRecon speaks of the Basel Face Model; give its .mat as well")
        return MorphableModel.load(morphable), None
    # Imported here: SciPy reads it, which is no part of the base install.
    try:
        from ..geometry.basel import load_basel_face_model, load_basel_frame
    except ImportError as error:
        raise WeightsError(f"{morphable}: needs SciPy; install: pip install 'personatalk[basel]'") from error

    model = load_basel_face_model(morphable)
    if deep3d is None:
        return model, None
    # Imported here: its checkpoint needs PyTorch.
    try:
        from ..geometry.deep3d import Deep3DInitialiser, ReconNet
    except ImportError as error:
        raise WeightsError(
            "Deep3DFaceRecon's checkpoint needs PyTorch; install: pip install 'personatalk[train]'"
        ) from error
    return model, Deep3DInitialiser(model, ReconNet.load(deep3d), load_basel_frame(morphable))


def model_fingerprint(model: MorphableModel) -> str:
    """Return the SHA-256 of all numbers of a morphable model."""
    digest = hashlib.sha256()
    for name, value in sorted(vars(model).items()):
        if isinstance(value, np.ndarray):
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
