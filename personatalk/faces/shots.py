"""Shot boundaries, found while frames stream by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import numpy.typing as npt

from ..media.reader import VideoReader
from ..utils.arrays import BoolArray, IntArray
from .transitions import SIDE, TransitionFinder

# Frames that a camera's flash may last.
MAX_FLASH_FRAMES = 2
# Grey levels by which a flash may seem to darken a pixel, because something moved there.
FLASH_DARKER = 12.0
# Share of an image's brightness by which it may differ from the last one, under a gain of each channel, and still be
# taken for the same in another light.
SAME_UNDER_GAIN = 0.06
# Ratio of the channels' gains up to which that is so: textures of a red light do not serve for a blue one.
SAME_HUE = 1.5


class CutDetector:
    """Detects the cuts between shots while frames stream by.

    A frame starts a new shot where its small colour image differs from the last one by much more than
    frames of this video usually do: a fixed threshold alone takes camera moves for cuts. A change of light alone is
    none. A camera's flash, which clips the image, is only known for one when it is over.

    Args:
        threshold: Least mean difference of a cut, in grey levels of 255.
        ratio: Least ratio of a cut's difference to the running mean of the last differences.

    Attributes:
        flash: Number of frames before the last one that were a flash, which has just ended: a cut reported among
            them is none. 0 for no flash.
    """

    def __init__(self, threshold: float = 14.0, ratio: float = 4.0) -> None:
        self.threshold = threshold
        self.ratio = ratio
        self.flash = 0
        self._last: npt.NDArray[np.float32] | None = None
        self._usual = 2.0
        self._before: npt.NDArray[np.float32] | None = None  # the last image before the latest cut
        self._since: list[npt.NDArray[np.float32]] = []  # the images after it

    def is_cut(self, rgb: npt.NDArray[np.uint8]) -> bool:
        """Return whether the next frame, uint8 (H, W, 3), starts a new shot (the first one does not)."""
        small = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        self.flash = 0
        if last is None:
            return False
        if self._ends_flash(small):
            self.flash, self._before = len(self._since), None
            return False
        difference = float(np.abs(small - last).mean())
        cut = difference > self._least() and not _is_relit(small, last)
        if not cut:
            self._usual += 0.1 * (difference - self._usual)
        self._remember(small, last, cut)
        return cut

    def _least(self) -> float:
        return max(self.threshold, self.ratio * self._usual)

    def _remember(self, small: npt.NDArray[np.float32], last: npt.NDArray[np.float32], cut: bool) -> None:
        if cut and self._before is None:
            self._before, self._since = last, []
        if self._before is not None:
            self._since.append(small)
            if len(self._since) > MAX_FLASH_FRAMES:
                # No flash, then. A cut among these images may still be the beginning of one.
                self._before, self._since = (last, [small]) if cut else (None, [])

    def _ends_flash(self, small: npt.NDArray[np.float32]) -> bool:
        """Return whether the image is again as before the last cut, and all between were brighter."""
        if self._before is None or float(np.abs(small - self._before).mean()) > self._least():
            return False
        lighter = [new - self._before for new in self._since]
        return all(d.min(axis=2).mean() > self.threshold / 2 and (d < -FLASH_DARKER).mean() < 0.02 for d in lighter)


def _is_relit(image: npt.NDArray[np.float32], last: npt.NDArray[np.float32]) -> bool:
    """Return whether an image is the last one in another light, which multiplies each channel."""
    gain = (image * last).sum(axis=(0, 1)) / ((last * last).sum(axis=(0, 1)) + 1e-6)
    if gain.max() > SAME_HUE * gain.min():
        return False
    return float(np.abs(image - gain * last).mean()) < SAME_UNDER_GAIN * float(image.mean())


@dataclass(frozen=True)
class Shots:
    """The shots of a video.

    Attributes:
        begins: Whether a shot begins at each frame, (T,); not at the first.
        in_transition: Whether each frame belongs to a transition between two shots, (T,), half of it to either.
    """

    begins: BoolArray
    in_transition: BoolArray

    @property
    def shot_of(self) -> IntArray:
        """Number of the shot of each frame, (T,)."""
        return np.cumsum(self.begins).astype(np.int64)


# Shots of videos that are open: a chosen face and every person of a list of cues ask for them again.
_FOUND: WeakKeyDictionary[VideoReader, Shots] = WeakKeyDictionary()


def find_shots(reader: VideoReader, on_progress: Callable[[int], None] = lambda _: None) -> Shots:
    """Find the shots of a video in a pass over it, which looks at small images only; once for each open reader.

    Args:
        reader: The video.
        on_progress: Told the frames done since the last call.

    Raises:
        MediaError: The file is damaged.
    """
    if reader in _FOUND:
        return _FOUND[reader]
    cuts, transitions = CutDetector(), TransitionFinder(float(reader.info.average_fps))
    begins: list[bool] = []
    for frame in reader.frames():
        small = frame.thumbnail(SIDE)
        begins.append(cuts.is_cut(small))
        if cuts.flash:
            begins[-1 - cuts.flash : -1] = [False] * cuts.flash
        transitions.add(small)
        on_progress(1)
    shots = Shots(np.array(begins, bool), np.zeros(len(begins), bool))
    for found in transitions.finish():
        shots.begins[found.start : found.stop + 1] = False
        shots.begins[(found.start + found.stop) // 2] = True
        shots.in_transition[found.start : found.stop] = True
    _FOUND[reader] = shots
    return shots
