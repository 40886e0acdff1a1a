"""Prepared clips: what the trainers read.

One clip is `NAME.npz` (geometry, times, sound) and `NAME.npy` (face crops), made by `personatalk.training.prepare`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..audio import FPS, SAMPLE_RATE
from ..errors import MediaError
from ..geometry import Array


@dataclass(frozen=True)
class Clip:
    """One shot of one speaker.

    Attributes:
        name: File name without suffix.
        alpha: Shape, (I,).
        beta: Expression per frame, (T, E).
        pose: Head pose per frame in pixels of the source, (T, 6).
        time: Seconds of the frames, (T,).
        sound: 16 kHz mono from time 0 on, int16 (N,); empty for a mute clip.
        crops: Face crops of the first frames, uint8 (<= T, 256, 256, 3), mapped from disk; None if there are none.
    """

    name: str
    alpha: Array
    beta: Array
    pose: Array
    time: npt.NDArray[np.float64]
    sound: npt.NDArray[np.int16]
    crops: npt.NDArray[np.uint8] | None

    @classmethod
    def load(cls, path: Path) -> Clip:
        """Read one prepared clip from its `.npz`."""
        with np.load(path) as file:
            arrays = {name: file[name] for name in ("alpha", "beta", "pose", "time")}
            sound = file["audio"]
        pictures = path.with_suffix(".npy")
        crops = np.load(pictures, mmap_mode="r") if pictures.exists() else None
        return cls(path.stem, sound=sound, crops=crops, **arrays)

    def samples(self) -> npt.NDArray[np.float32]:
        """The sound as float, -1..1."""
        return self.sound.astype(np.float32) / 32768

    def beta_at_clock(self) -> tuple[int, Array]:
        """Expression at the model's 25 frames a second.

        Returns:
            The number of the first frame (its time is number / 25) and the coefficients (T', E).
        """
        first = int(np.ceil(self.time[0] * FPS - 1e-6))
        last = int(np.floor(self.time[-1] * FPS + 1e-6))
        wanted = np.arange(first, last + 1) / FPS
        columns = [np.interp(wanted, self.time, column) for column in self.beta.T]
        return first, np.stack(columns, axis=1).astype(np.float32)


def load_clips(folder: Path, prefixes: tuple[str, ...], with_sound: bool = False) -> list[Clip]:
    """All prepared clips of a folder whose names begin with one of the prefixes, in order of name.

    Raises:
        MediaError: There are none.
    """
    paths = [p for p in sorted(folder.glob("*.npz")) if p.name.startswith(prefixes)]
    clips = [Clip.load(path) for path in paths]
    clips = [c for c in clips if len(c.sound) > SAMPLE_RATE] if with_sound else clips
    if not clips:
        kind = "prepared clips with sound" if with_sound else "prepared clips"
        raise MediaError(f"{folder}: no {kind} named {' or '.join(prefixes)}*; see personatalk.training.prepare")
    return clips
