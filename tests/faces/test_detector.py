"""Face detectors, and crops of what they find."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.people_clips import canvas
from helpers.sample_clips import sample_frames
from helpers.synthetic import smooth_picture

from personatalk.faces.boxes import box_distance, face_box
from personatalk.faces.crops import Crop, face_crop
from personatalk.faces.detector import FaceDetector, merge_boxes, overlaps
from personatalk.faces.landmarks import open_tracker

DETECTORS = [FaceDetector.short_range, FaceDetector.full_range]


def test_boxes_of_one_face_are_averaged_by_their_scores() -> None:
    boxes = np.array([[50, 50, 60, 60], [0, 0, 10, 10], [2, 0, 12, 10], [9, 0, 19, 10]], np.float32)
    merged = merge_boxes(boxes, np.array([0.5, 0.6, 0.9, 0.4], np.float32))
    np.testing.assert_allclose(merged, [[1.2, 0, 11.2, 10], [50, 50, 60, 60], [9, 0, 19, 10]], rtol=1e-5)
    assert merge_boxes(boxes[:0], boxes[:0, 0]) == []


def test_a_box_shares_all_with_itself_and_nothing_with_what_lies_beside_it() -> None:
    box = np.array([0, 0, 4, 2], np.float32)
    others = np.array([[0, 0, 4, 2], [2, 0, 6, 2], [4, 0, 8, 2], [0, 5, 4, 7]], np.float32)
    np.testing.assert_allclose(overlaps(box, others), [1, 1 / 3, 0, 0])


@pytest.mark.parametrize("open_detector", DETECTORS)
@pytest.mark.parametrize("turn", [-20, 0, 20])
def test_the_box_lies_on_the_face_and_turns_with_it(open_detector: type[FaceDetector], turn: int) -> None:
    frame = sample_frames(1)[0]
    (face,) = open_tracker().detect(frame)
    height, width = frame.shape[:2]
    turned = Crop(np.array([width, height], np.float32) / 2, max(width, height), np.radians(turn)).cut(frame, width)
    (found,) = open_detector().detect(turned)
    assert abs(np.degrees(found.angle - face_crop(face).angle) + turn) < 6
    if turn == 0:
        assert box_distance(found.box, face_box(face)) < 0.2


@pytest.mark.parametrize("open_detector", DETECTORS)
@pytest.mark.parametrize("image", [canvas(1280, 720), smooth_picture(120, 160, 15)])
def test_no_face_is_found_in_clouds_and_walls(open_detector: type[FaceDetector], image: np.ndarray) -> None:
    assert open_detector().detect(image) == []


def test_points_of_a_crop_go_back_to_where_they_lay() -> None:
    crop = Crop(np.array([30.0, 70.0], np.float32), 50.0, 0.7)
    points = np.array([[20, 60, 1], [31, 72, -2], [44, 90, 5]], np.float32)
    transform, zoom = crop.transform(192), 192 / 50
    inside = np.concatenate([points[:, :2] @ transform[:, :2].T + transform[:, 2], zoom * points[:, 2:]], axis=1)
    np.testing.assert_allclose(crop.back(inside, 192), points, atol=1e-3)
