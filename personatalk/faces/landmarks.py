"""Face detection and dense landmarks behind one small interface.

Every backend gives MediaPipe's 478-point mesh, so that everything above this module is the same for all of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import FaceError
from ..utils.arrays import Array

# Most faces looked for in one frame where nothing else is said.
MAX_FACES = 5


class FaceTracker(Protocol):
    """Finds the faces of consecutive frames. One tracker serves one video, in order."""

    def detect(self, rgb: npt.NDArray[np.uint8]) -> list[Array]:
        """Return the faces of one frame.

        Args:
            rgb: Upright image, uint8 (H, W, 3).

        Returns:
            One float32 array (478, 3) per face: x to the right, y down and depth z away from the camera, all in
            pixels of the image (z relative to the head's centre, in the scale of x). Empty if there is no face.
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

    def __init__(self, max_faces: int = MAX_FACES, min_confidence: float = 0.4) -> None:
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

    def detect(self, rgb: npt.NDArray[np.uint8]) -> list[Array]:
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

    MediaPipe smooths landmarks over time only where it looks for one face. So there are two landmarkers: one for
    several faces, and one whose smooth landmarks are taken where the first sees no more than one face.

    Args:
        model: Path of the model file.
        max_faces: Most faces looked for in one frame.
        min_confidence: Detection and tracking threshold, 0..1.

    Raises:
        FaceError: The model file is missing or is not a face landmarker.
    """

    def __init__(self, model: Path | str, max_faces: int = MAX_FACES, min_confidence: float = 0.4) -> None:
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

            def open_landmarker(faces: int) -> Any:
                return vision.FaceLandmarker.create_from_options(
                    vision.FaceLandmarkerOptions(
                        base_options=BaseOptions(model_asset_buffer=content),
                        running_mode=vision.RunningMode.VIDEO,
                        num_faces=faces,
                        min_face_detection_confidence=min_confidence,
                        min_face_presence_confidence=min_confidence,
                        min_tracking_confidence=min_confidence,
                    )
                )

            try:
                self._single = open_landmarker(1)
                self._several = open_landmarker(max_faces) if max_faces > 1 else None
            except (RuntimeError, ValueError) as error:
                raise FaceError(f"{path}: not a MediaPipe face landmarker model") from error
        self._mp = mp
        self._calls = 0

    def detect(self, rgb: npt.NDArray[np.uint8]) -> list[Array]:
        """See `FaceTracker.detect`."""
        image = self._mp.Image(image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        # The API only needs time stamps that rise; the real ones may stand still in odd files.
        time = self._calls * 40
        self._calls += 1
        found = self._single.detect_for_video(image, time).face_landmarks
        if self._several is not None:
            several = self._several.detect_for_video(image, time).face_landmarks
            found = several if len(several) > 1 else found
        return [_to_pixels(face, rgb.shape[1], rgb.shape[0]) for face in found]

    def close(self) -> None:
        """See `FaceTracker.close`."""
        self._single.close()
        if self._several is not None:
            self._several.close()


def open_tracker(model: Path | str | None = None, max_faces: int = MAX_FACES) -> FaceTracker:
    """Open the default tracker, or the Tasks tracker where a model path is given.

    Args:
        model: Path of MediaPipe's `face_landmarker.task`.
        max_faces: Most faces looked for in one frame.

    Raises:
        FaceError: The model file is missing or is not a face landmarker.
    """
    return FaceMeshTracker(max_faces) if model is None else FaceLandmarkerTracker(model, max_faces)


def _to_pixels(points: Any, width: int, height: int) -> Array:
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
