"""Shot boundaries, the face to follow, and the face backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.synthetic import smooth_picture

from personatalk.errors import FaceError
from personatalk.faces.follow import LargestFaceFollower, main_face
from personatalk.faces.landmarks import FaceLandmarkerTracker, FaceMeshTracker, open_tracker
from personatalk.faces.shots import CutDetector
from personatalk.geometry.mediapipe_mesh import NUM_LANDMARKS
from personatalk.media.reader import VideoReader
from personatalk.utils.arrays import Array, Image


def noisy(picture: Image, random: np.random.Generator, level: float) -> Image:
    return np.clip(picture + random.normal(0, level, picture.shape), 0, 255).astype(np.uint8)


def cuts(frames: list[Image]) -> list[int]:
    detector, found = CutDetector(), list[bool]()
    for frame in frames:
        found.append(detector.is_cut(frame))
        if detector.flash:
            found[-1 - detector.flash : -1] = [False] * detector.flash
    return np.flatnonzero(found).tolist()


def test_cuts_between_different_pictures() -> None:
    random = np.random.default_rng(0)
    pictures = [smooth_picture(120, 160, 12, seed) for seed in range(3)]
    frames = [noisy(pictures[k], random, 4) for k in (0, 1, 2, 0) for _ in range(10)]
    assert cuts(frames) == [10, 20, 30]


def test_single_frames_of_another_picture_are_shots() -> None:
    pictures = [smooth_picture(120, 160, 12, seed) for seed in range(2)]
    assert cuts([pictures[0]] * 5 + [pictures[1]] + [pictures[0]] * 5) == [5, 6]


def flashed(picture: Image, light: float) -> Image:
    return np.clip(picture.astype(float) * (1 + light) + 60 * light, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("lights", [[1.0], [0.4], [1.2, 0.6], [1.0, 0.15]])
def test_a_camera_flash_is_no_shot(lights: list[float]) -> None:
    random = np.random.default_rng(2)
    wide = smooth_picture(120, 240, 12)
    frames = [noisy(np.ascontiguousarray(wide[:, i : i + 160]), random, 4) for i in range(30)]
    for i, light in enumerate(lights):
        frames[12 + i] = flashed(frames[12 + i], light)
    alone = CutDetector()
    assert [i for i, frame in enumerate(frames) if alone.is_cut(frame)][:1] == [12], "the flash must show"
    assert cuts(frames) == []


def test_a_flash_at_a_cut_leaves_the_cut() -> None:
    a, b = (smooth_picture(120, 160, 12, seed) for seed in (0, 1))
    assert len(cuts([a] * 10 + [flashed(a, 1.0)] + [b] * 10)) >= 1
    assert cuts([a] * 10 + [b] * 10 + [flashed(b, 1.0)] + [b] * 10) == [10]


def test_a_dark_frame_or_a_long_light_are_shots() -> None:
    picture = smooth_picture(120, 160, 12)
    assert cuts([picture] * 10 + [picture // 3] + [picture] * 10) == [10, 11]
    assert cuts([picture] * 10 + [flashed(picture, 1.0)] * 8 + [picture] * 10) == [10, 18]


def test_no_cut_in_noise_and_stills() -> None:
    random = np.random.default_rng(1)
    picture = smooth_picture(120, 160, 12)
    assert cuts([picture] * 20) == []
    assert cuts([noisy(picture, random, 25) for _ in range(20)]) == []


def test_the_first_frame_is_no_cut() -> None:
    assert cuts([np.full((40, 60, 3), 255, np.uint8)]) == []


@pytest.mark.parametrize("speed", [2, 6])
def test_no_cut_in_a_pan(speed: int) -> None:
    wide = smooth_picture(120, 160 + 40 * speed, 14)
    assert cuts([np.ascontiguousarray(wide[:, i * speed : i * speed + 160]) for i in range(40)]) == []


def test_no_cut_in_a_fade() -> None:
    a, b = (smooth_picture(120, 160, 12, seed).astype(float) for seed in (3, 4))
    assert cuts([((1 - t) * a + t * b).astype(np.uint8) for t in np.linspace(0, 1, 25)]) == []


def test_no_cut_in_a_restless_scene() -> None:
    picture = smooth_picture(120, 160, 12).astype(float) * 0.4 + 76
    swing = 2 * 1.07 ** np.arange(45)  # grey levels; at last far beyond the least difference of a cut
    frames = [np.clip(picture + s * (-1) ** i, 0, 255).astype(np.uint8) for i, s in enumerate(swing)]
    assert np.abs(frames[-1].astype(int) - frames[-2]).mean() > 2 * CutDetector().threshold
    assert cuts(frames) == []


def test_a_cut_after_a_lively_scene_is_still_seen() -> None:
    wide = smooth_picture(120, 400, 14, seed=5)
    pan = [np.ascontiguousarray(wide[:, 4 * i : 4 * i + 160]) for i in range(30)]
    dark = [(smooth_picture(120, 160, 12, seed=6) // 6)] * 5
    assert cuts(pan + dark) == [30]


def face(x: float, y: float, size: float) -> Array:
    random = np.random.default_rng(0)
    points = random.uniform(-0.5, 0.5, (NUM_LANDMARKS, 3)).astype(np.float32) * np.float32(size)
    return points + np.array([x, y, 0], np.float32)


def test_the_largest_face_leads_at_first() -> None:
    faces = [face(50, 50, 40), face(300, 80, 90), face(500, 90, 60)]
    assert main_face(faces, None) is faces[1]


def test_the_same_face_is_followed_after_that() -> None:
    faces = [face(52, 50, 40), face(300, 80, 90), face(500, 90, 60)]
    assert main_face(faces, face(45, 55, 42)) is faces[0]
    assert main_face(faces, face(480, 80, 10)) is faces[2]


def test_somebody_else_is_not_taken_for_a_lost_face() -> None:
    follower, speaker, other = LargestFaceFollower(patience=3), face(50, 50, 40), face(300, 80, 90)
    assert follower.follow([speaker], False) is speaker
    assert follower.follow([other], False) is None
    assert follower.follow([face(60, 55, 40), other], False) is not other
    # A cut, or a long absence, ends it.
    assert follower.follow([other], True) is other
    assert [follower.follow([speaker], False) is speaker for _ in range(6)] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("previous", [None, face(0, 0, 10)])
def test_no_face(previous: Array | None) -> None:
    assert main_face([], previous) is None


def test_a_missing_model_file(tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    for start in (FaceLandmarkerTracker, open_tracker):
        with pytest.raises(FaceError, match="no such face landmarker model") as caught:
            start(path)
        assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"this is no model" * 50])
def test_a_model_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(content)
    with pytest.raises(FaceError, match="not a MediaPipe face landmarker") as caught:
        FaceLandmarkerTracker(path)
    assert "\n" not in str(caught.value)


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


def test_closing_is_enough_to_start_anew(frame: Image) -> None:
    first, second = (landmarks(FaceMeshTracker(), frame) for _ in range(2))
    np.testing.assert_allclose(second, first, atol=0.5)
