"""Faces: detection and dense landmarks behind one small interface, and shot boundaries.

Every backend gives MediaPipe's 478-point mesh, so that everything above this module is the same for all of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from .errors import FaceError

NUM_LANDMARKS = 478
"""Landmarks of one face: the 468 vertices of the face mesh, then 5 points for each iris."""

LONGEST_FLASH = 2
"""Frames that a camera's flash may last."""
FLASH_DARKER = 12.0
"""Grey levels by which the light of a flash may seem to darken a place, because something moved there."""

FloatArray = npt.NDArray[np.float32]


class FaceTracker(Protocol):
    """Finds the faces of consecutive frames. One tracker serves one video, in order."""

    def detect(self, rgb: npt.NDArray[np.uint8]) -> list[FloatArray]:
        """Return the faces of one frame.

        Args:
            rgb: Upright picture, uint8 (H, W, 3).

        Returns:
            One float32 array (478, 3) per face: x to the right, y down and depth z away from the camera, all in
            pixels of the picture (z relative to the head's centre, in the scale of x). Empty if there is no face.
        """
        ...

    def close(self) -> None:
        """Free the network."""
        ...


class FaceMeshTracker:
    """MediaPipe's face mesh as it comes inside the `mediapipe` 0.10 wheel: no model file is needed.

    Args:
        max_faces: Most faces looked for in one frame.
        min_confidence: Detection and tracking threshold, 0..1.
    """

    def __init__(self, max_faces: int = 1, min_confidence: float = 0.4) -> None:
        with quiet_native_stderr():
            import mediapipe as mp

            self._mesh = mp.solutions.face_mesh.FaceMesh(
                static_image_mode=False,
                max_num_faces=max_faces,
                refine_landmarks=True,
                min_detection_confidence=min_confidence,
                min_tracking_confidence=min_confidence,
            )
            # The graph starts in other threads: its chatter has only ended when it has answered once.
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))
        self._settled = False

    def detect(self, rgb: npt.NDArray[np.uint8]) -> list[FloatArray]:
        """See `FaceTracker.detect`."""
        # It chatters once more when it first finds a face.
        with contextlib.nullcontext() if self._settled else quiet_native_stderr():
            found = self._mesh.process(np.ascontiguousarray(rgb)).multi_face_landmarks or []
        self._settled = self._settled or bool(found)
        return [_to_pixels(face.landmark, rgb.shape[1], rgb.shape[0]) for face in found]

    def close(self) -> None:
        """See `FaceTracker.close`."""
        self._mesh.close()


class FaceLandmarkerTracker:
    """MediaPipe's Tasks API with a model file (`face_landmarker.task`) that the user has.

    Args:
        model: Path of the model file.
        max_faces: Most faces looked for in one frame.
        min_confidence: Detection and tracking threshold, 0..1.

    Raises:
        FaceError: The model file is missing or is not a face landmarker.
    """

    def __init__(self, model: Path | str, max_faces: int = 1, min_confidence: float = 0.4) -> None:
        path = Path(model)
        if not path.is_file():
            raise FaceError(f"{path}: no such face landmarker model; give the path of MediaPipe's face_landmarker.task")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FaceError(f"{path}: the face landmarker model cannot be read ({error.strerror})") from error
        with quiet_native_stderr():
            import mediapipe as mp
            from mediapipe.tasks.python import BaseOptions, vision

            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=content),
                running_mode=vision.RunningMode.VIDEO,
                num_faces=max_faces,
                min_face_detection_confidence=min_confidence,
                min_face_presence_confidence=min_confidence,
                min_tracking_confidence=min_confidence,
            )
            try:
                self._landmarker = vision.FaceLandmarker.create_from_options(options)
            except (RuntimeError, ValueError) as error:
                raise FaceError(f"{path}: not a MediaPipe face landmarker model") from error
        self._mp = mp
        self._calls = 0

    def detect(self, rgb: npt.NDArray[np.uint8]) -> list[FloatArray]:
        """See `FaceTracker.detect`."""
        image = self._mp.Image(image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        # The API only needs time stamps that rise; the real ones may stand still in odd files.
        found = self._landmarker.detect_for_video(image, self._calls * 40).face_landmarks
        self._calls += 1
        return [_to_pixels(face, rgb.shape[1], rgb.shape[0]) for face in found]

    def close(self) -> None:
        """See `FaceTracker.close`."""
        self._landmarker.close()


def open_tracker(model: Path | str | None = None, max_faces: int = 1) -> FaceTracker:
    """Return the default tracker, or the Tasks tracker where a model path is given."""
    return FaceMeshTracker(max_faces) if model is None else FaceLandmarkerTracker(model, max_faces)


def main_face(faces: list[FloatArray], previous: FloatArray | None) -> FloatArray | None:
    """Choose the face to follow: the one nearest to the previous frame's, else the largest.

    A face further than its own width from where the last one was is somebody else's: None.

    Args:
        faces: Faces of one frame, each (478, 3).
        previous: The face followed so far in this shot, or None at its beginning.
    """
    if not faces:
        return None
    if previous is None:
        return max(faces, key=lambda face: float(np.prod(np.ptp(face[:, :2], axis=0))))
    centre = previous[:, :2].mean(axis=0)
    nearest = min(faces, key=lambda face: float(np.linalg.norm(face[:, :2].mean(axis=0) - centre)))
    reach = max(float(np.ptp(face[:, 0])) for face in (previous, nearest))
    return nearest if np.linalg.norm(nearest[:, :2].mean(axis=0) - centre) < reach else None


class FaceFollower(Protocol):
    """Picks the face of one person among those of consecutive frames. One follower serves one pass over a video."""

    def follow(self, faces: list[FloatArray], cut: bool) -> FloatArray | None:
        """Take the faces of the next frame, each (478, 3), and whether a shot begins there; return the person's."""
        ...


class Follower:
    """Follows one face through the frames of a shot.

    Args:
        patience: Frames after which a lost face is given up and the next one found is followed.
    """

    def __init__(self, patience: int = 25) -> None:
        self.patience = patience
        self._face: FloatArray | None = None
        self._missing = 0

    def follow(self, faces: list[FloatArray], cut: bool) -> FloatArray | None:
        """Take the faces of the next frame, and whether a shot begins there; return the followed one."""
        if cut or self._missing > self.patience:
            self._face = None
        chosen = main_face(faces, self._face)
        self._missing = self._missing + 1 if chosen is None else 0
        self._face = self._face if chosen is None else chosen
        return chosen


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


def _to_pixels(points: Any, width: int, height: int) -> FloatArray:
    return np.array([(p.x * width, p.y * height, p.z * width) for p in points], np.float32)


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Silence the start-up chatter that MediaPipe's C++ writes to file descriptor 2."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
