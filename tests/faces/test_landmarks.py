"""The face backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.synthetic import smooth_picture

from personatalk.errors import FaceError
from personatalk.faces.landmarks import FaceLandmarkerTracker, FaceMeshTracker, open_tracker
from personatalk.geometry.mediapipe_mesh import NUM_LANDMARKS
from personatalk.media.reader import VideoReader
from personatalk.utils.arrays import Array, Image


def test_a_missing_model_file(tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    for start in (FaceLandmarkerTracker, open_tracker):
        with pytest.raises(FaceError, match="no such face landmarker model") as caught:
            start(path)
        assert str(caught.value).startswith(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"this is no model" * 50])
def test_a_model_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(content)
    with pytest.raises(FaceError, match="not a MediaPipe face landmarker") as caught:
        FaceLandmarkerTracker(path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_face_mesh_sees_no_face_in_clouds() -> None:
    tracker = open_tracker()
    assert isinstance(tracker, FaceMeshTracker)
    try:
        assert tracker.detect(smooth_picture(120, 160, 15)) == []
    finally:
        tracker.close()


CLIP = "hdtf_RD_Radio13.mp4"


@pytest.fixture(scope="module")
def frame(shared: Path) -> Image:
    with VideoReader(shared / "clips" / "val" / CLIP) as reader:
        return next(iter(reader.frames())).rgb()


def landmarks(tracker: FaceMeshTracker | FaceLandmarkerTracker, frame: Image) -> Array:
    try:
        for _ in range(3):  # both track
            faces = tracker.detect(frame)
    finally:
        tracker.close()
    assert len(faces) == 1
    return faces[0]


@pytest.mark.slow
@pytest.mark.real_clips
def test_both_backends_agree(shared: Path, frame: Image) -> None:
    path = shared / "evaluators" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip("MediaPipe's model file is not here: ../shared/evaluators")
    mesh, task = landmarks(FaceMeshTracker(), frame), landmarks(FaceLandmarkerTracker(path), frame)
    assert mesh.shape == task.shape == (NUM_LANDMARKS, 3)
    assert mesh.dtype == task.dtype == np.float32
    eyes = float(np.linalg.norm(mesh[33, :2] - mesh[263, :2]))
    distance = np.linalg.norm(mesh[:468, :2] - task[:468, :2], axis=1)
    assert np.median(distance) < 0.05 * eyes
    assert distance.max() < 0.2 * eyes


@pytest.mark.slow
@pytest.mark.real_clips
def test_landmarks_are_in_pixels_of_the_frame(frame: Image) -> None:
    found = landmarks(FaceMeshTracker(), frame)
    height, width = frame.shape[:2]
    assert 0 < found[:, 0].min() < found[:, 0].max() < width
    assert 0 < found[:, 1].min() < found[:, 1].max() < height
    assert found[33, 0] < found[263, 0]
    assert found[10, 1] < found[152, 1]
    assert found[1, 2] < found[234, 2], "the nose is nearer than the ear"
    # A picture twice as wide on the right: nothing of the face moves.
    wide = np.concatenate([frame, np.zeros((height, width // 2, 3), np.uint8)], axis=1)
    again = landmarks(FaceMeshTracker(), wide)
    assert np.abs(again - found)[:468, :2].mean() < 0.03 * np.ptp(found[:, 0])


@pytest.mark.slow
@pytest.mark.real_clips
def test_closing_is_enough_to_start_anew(frame: Image) -> None:
    first, second = (landmarks(FaceMeshTracker(), frame) for _ in range(2))
    np.testing.assert_allclose(second, first, atol=0.5)
