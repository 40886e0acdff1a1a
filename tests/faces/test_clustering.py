"""Clustering of made-up tracklets, and the people that they make."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from helpers.made_up_people import box_at

from personatalk.faces.clustering import cluster_tracklets
from personatalk.faces.people import best_snapshots, number_people
from personatalk.faces.tracklets import Snapshot, Tracklet
from personatalk.utils.arrays import Array

ANNA, BERT = np.array([0.0, 0.0], np.float32), np.array([3.0, 0.0], np.float32)


def shifted(distance: float) -> Array:
    """The looks of somebody at a distance from Anna."""
    return ANNA + np.array([distance, 0], np.float32)


def at_25_fps(frames: int) -> npt.NDArray[np.float64]:
    """Seconds that each of some frames is shown."""
    return np.full(frames, 0.04)


def tracklet(
    looks: Array, first: int, shot: int = 0, x: float = 100, size: float = 60, ambiguous: bool = False
) -> Tracklet:
    """Ten frames of a face that stays where it is."""
    frames = list(range(first, first + 10))
    return Tracklet(shot, ambiguous, frames, [box_at(x, size=size)] * 10, 2 * looks, 2.0, [Snapshot(first, 1.0, b"")])


def test_alike_tracklets_are_one_person() -> None:
    tracklets = [tracklet(ANNA, 0), tracklet(BERT, 0, x=400), tracklet(ANNA + 0.3, 100, 1, 400)]
    assert cluster_tracklets(tracklets, {(0, 1)}, 1.0) == [[0, 2], [1]]


def test_tracklets_that_one_frame_shows_are_never_one_person() -> None:
    twins = [tracklet(ANNA, 0), tracklet(ANNA, 0, x=400), tracklet(ANNA, 100, 1)]
    groups = cluster_tracklets(twins, {(0, 1)}, 1.0)
    assert len(groups) == 2 and not any({0, 1} <= set(group) for group in groups)


def test_motion_that_goes_on_counts_for_more_than_looks() -> None:
    changed = shifted(1.1)
    assert cluster_tracklets([tracklet(ANNA, 0), tracklet(changed, 13)], set(), 1.0) == [[0, 1]]
    assert cluster_tracklets([tracklet(ANNA, 0), tracklet(changed, 13, x=400)], set(), 1.0) == [[0], [1]]
    assert cluster_tracklets([tracklet(ANNA, 0), tracklet(changed, 13, 1)], set(), 1.0) == [[0], [1]]


def test_ambiguous_tracklets_join_only_the_person_whom_they_clearly_show() -> None:
    sure = [tracklet(ANNA, 0), tracklet(shifted(1.9), 0, x=400)]
    between, near = (tracklet(shifted(x), 20, ambiguous=True) for x in (0.95, 0.5))
    assert cluster_tracklets([*sure, between], {(0, 1)}, 1.0) == [[0], [1]]
    assert cluster_tracklets([*sure, near], {(0, 1)}, 1.0) == [[0, 2], [1]]
    assert cluster_tracklets([*sure, near], {(0, 1), (0, 2)}, 1.0) == [[0], [1]]
    assert cluster_tracklets([near], set(), 1.0) == []


def test_nothing_makes_nobody() -> None:
    assert cluster_tracklets([], set(), 1.0) == []
    persons, boxes = number_people([], at_25_fps(7))
    assert persons == [] and boxes.shape == (0, 7, 4)


def test_people_are_numbered_by_area_and_then_by_time() -> None:
    small, large, late = tracklet(ANNA, 0), tracklet(BERT, 5, size=90), tracklet(BERT, 8)
    persons, boxes = number_people([[late], [small], [large]], at_25_fps(20))
    assert [person.number for person in persons] == [1, 2, 3]
    seen = ~np.isnan(boxes[..., 0])
    assert [int(row.argmax()) for row in seen] == [5, 0, 8]
    np.testing.assert_array_equal(persons[1].embedding, ANNA)


def test_who_is_seen_too_briefly_is_nobody() -> None:
    brief = tracklet(ANNA, 0)
    brief.frames, brief.boxes = brief.frames[:3], brief.boxes[:3]
    assert number_people([[brief]], at_25_fps(20))[0] == []
    assert len(number_people([[brief]], at_25_fps(3))[0]) == 1, "a video of three frames shows nobody for longer"
    assert len(number_people([[brief]], np.ones(20))[0]) == 1, "three frames are three seconds"


def test_the_best_snapshots_are_spread_over_time() -> None:
    snapshots = [Snapshot(frame, float(frame % 10), b"") for frame in range(60)]
    assert [snapshot.frame for snapshot in best_snapshots(snapshots[::-1], 6)] == [9, 19, 29, 39, 49, 59]
    assert best_snapshots(snapshots[:2], 6) == snapshots[:2]
