"""Landmarks of consecutive frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.people_clips import canvas, fitted
from helpers.sample_clips import sample_frames
from helpers.synthetic import smooth_picture

from personatalk.faces.crops import face_crop
from personatalk.faces.landmarks import MIN_SCORE, FaceMeshTracker, open_tracker
from personatalk.faces.mesh import FaceMesh
from personatalk.geometry.mediapipe_mesh import LIP_VERTICES, NUM_LANDMARKS, OUTER_EYE_CORNERS
from personatalk.utils.arrays import Array, Image

# Landmarks of mediapipe 0.10.21 in frames of the sample, made by benchmarks/landmarks.py.
REFERENCE = Path(__file__).parents[1] / "data" / "face_mesh.npy"
# Frames in which a tracker settles.
SETTLING = 3


def landmarks(frame: Image) -> Array:
    tracker = FaceMeshTracker()
    for _ in range(SETTLING):
        faces = tracker.detect(frame)
    assert len(faces) == 1
    return faces[0]


def eye_distance(face: Array) -> float:
    return float(np.linalg.norm(face[OUTER_EYE_CORNERS[0], :2] - face[OUTER_EYE_CORNERS[1], :2]))


@pytest.fixture(scope="module")
def frame() -> Image:
    return sample_frames(1)[0]


def test_no_face_is_seen_in_clouds() -> None:
    assert open_tracker().detect(smooth_picture(120, 160, 15)) == []


def test_the_landmarks_are_mediapipes() -> None:
    reference = np.load(REFERENCE)
    tracker, frames = FaceMeshTracker(), sample_frames(len(reference))
    for rgb, expected in zip(frames, reference, strict=True):
        (face,) = tracker.detect(rgb)
        distance = np.linalg.norm(face - expected, axis=1) / eye_distance(expected)
        assert distance.mean() < 0.005 and distance[list(LIP_VERTICES)].mean() < 0.005


def test_landmarks_are_in_pixels_of_the_frame(frame: Image) -> None:
    found = landmarks(frame)
    height, width = frame.shape[:2]
    assert found.shape == (NUM_LANDMARKS, 3) and found.dtype == np.float32
    assert 0 < found[:, 0].min() < found[:, 0].max() < width
    assert 0 < found[:, 1].min() < found[:, 1].max() < height
    assert found[33, 0] < found[263, 0]
    assert found[10, 1] < found[152, 1]
    assert found[1, 2] < found[234, 2], "the nose is nearer than the ear"
    # An image twice as wide on the right: nothing of the face moves.
    wide = np.concatenate([frame, np.zeros((height, width // 2, 3), np.uint8)], axis=1)
    assert np.abs(landmarks(wide) - found).max() < 0.01 * eye_distance(found)


def test_a_face_that_leaves_is_seen_no_more_and_found_again_at_once(frame: Image) -> None:
    tracker = FaceMeshTracker()
    nobody = canvas(frame.shape[1], frame.shape[0])
    assert [len(tracker.detect(rgb)) for rgb in (frame, nobody, nobody, frame)] == [1, 0, 0, 1]


def test_the_presence_drops_where_the_crop_shows_no_upright_face(frame: Image) -> None:
    mesh, face = FaceMesh(), landmarks(frame)
    upright = face_crop(face)
    assert mesh.look(frame, upright)[1] > 10 > MIN_SCORE
    assert mesh.look(canvas(*frame.shape[1::-1]), upright)[1] < MIN_SCORE


def test_two_crops_that_end_up_on_one_face_are_one(frame: Image) -> None:
    tracker = FaceMeshTracker()
    pair = np.concatenate(fitted([frame, frame]), axis=1)
    assert len(tracker.detect(pair)) == 2
    assert len(tracker.detect(frame)) == 1
