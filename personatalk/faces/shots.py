"""personatalk.faces.shots."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

LONGEST_FLASH = 2
"""Frames that a camera's flash may last."""

FLASH_DARKER = 12.0
"""Grey levels by which the light of a flash may seem to darken a place, because something moved there."""


class CutDetector:
    """Tells shots apart while frames stream by.

    A frame starts a new shot where its small grey-and-colour picture differs from the last one by much more than
    frames of this video usually do: a fixed threshold alone takes camera moves for cuts. A camera's flash is only
    known for one when it is over.

    Args:
        threshold: Least mean difference of a cut, in grey levels of 255.
        ratio: Least ratio of a cut's difference to the running mean of the last differences.

    Attributes:
        flash: How many frames before the last one were a flash that has just ended: what was called a cut among them
            is none. 0 for no flash.
    """

    def __init__(self, threshold: float = 14.0, ratio: float = 4.0) -> None:
        self.threshold = threshold
        self.ratio = ratio
        self.flash = 0
        self._last: npt.NDArray[np.float32] | None = None
        self._usual = 2.0
        self._before: npt.NDArray[np.float32] | None = None  # the last picture before the latest cut
        self._since: list[npt.NDArray[np.float32]] = []  # the pictures after it

    def is_cut(self, rgb: npt.NDArray[np.uint8]) -> bool:
        """Take the next frame, uint8 (H, W, 3), and say whether it starts a new shot (the first does not)."""
        small = cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        self.flash = 0
        if last is None:
            return False
        if self._ends_flash(small):
            self.flash, self._before = len(self._since), None
            return False
        difference = float(np.abs(small - last).mean())
        cut = difference > self._least()
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
            if len(self._since) > LONGEST_FLASH:
                # No flash, then. A cut among these pictures may still be the beginning of one.
                self._before, self._since = (last, [small]) if cut else (None, [])

    def _ends_flash(self, small: npt.NDArray[np.float32]) -> bool:
        """Whether the picture is again what it was before the last cut, and all between was brighter."""
        if self._before is None or float(np.abs(small - self._before).mean()) > self._least():
            return False
        lighter = [new - self._before for new in self._since]
        return all(d.min(axis=2).mean() > self.threshold / 2 and (d < -FLASH_DARKER).mean() < 0.02 for d in lighter)
