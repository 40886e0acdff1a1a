"""Reference selection against Algorithm 1 of the paper, which counts frames from 1."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.stage2.references import (
    FACE_REFERENCES,
    LIP_REFERENCES,
    LIP_REFERENCES_TRAINING,
    face_references,
    lip_references,
    training_face_references,
    training_lip_references,
)

CLIPS = [(frame, length) for length in (1, 2, 5, 9, 11, 12, 25, 100) for frame in range(length)]


def test_the_papers_numbers() -> None:
    assert (FACE_REFERENCES, LIP_REFERENCES_TRAINING, LIP_REFERENCES) == (5, 5, 25)


@pytest.mark.parametrize("count", [5, 3])
def test_face_references_in_training(count: int) -> None:
    for frame, length in CLIPS:
        i = frame + 1
        low, high = max(1, i - 2 * count), min(length, i + 2 * count)
        wanted = np.linspace(low, high, count) - 1
        got = training_face_references(frame, length, count)
        assert len(got) == count
        # The paper does not say how a half is rounded.
        assert np.abs(got - wanted).max() <= 0.5, (frame, length)
        assert got.min() >= 0
        assert got.max() < length
        assert (np.diff(got) >= 0).all()


def test_face_references_in_inference() -> None:
    for frame, length in CLIPS:
        i = frame + 1
        low, high = max(1, i - FACE_REFERENCES // 2), min(length, i + FACE_REFERENCES // 2)
        assert face_references(frame, length).tolist() == [j - 1 for j in range(low, high + 1)], (frame, length)


def test_face_references_are_neighbours() -> None:
    assert face_references(50, 100).tolist() == [48, 49, 50, 51, 52]
    assert face_references(0, 100).tolist() == [0, 1, 2]
    assert face_references(99, 100).tolist() == [97, 98, 99]
    assert face_references(0, 1).tolist() == [0]
    assert training_face_references(50, 100).tolist() == [40, 45, 50, 55, 60]


@pytest.mark.parametrize("choose", [face_references, training_face_references])
@pytest.mark.parametrize("frame, length", [(-1, 5), (5, 5), (0, 0)])
def test_a_frame_outside_the_clip_is_refused(choose, frame: int, length: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="not in a clip"):
        choose(frame, length)


def test_lip_references_in_training_are_random_frames_of_the_whole_video() -> None:
    random = np.random.default_rng(0)
    drawn = [training_lip_references(40, random) for _ in range(200)]
    assert all(len(set(d.tolist())) == LIP_REFERENCES_TRAINING for d in drawn)
    assert set(np.concatenate(drawn).tolist()) == set(range(40))
    again = np.random.default_rng(0)
    np.testing.assert_array_equal(training_lip_references(40, again), drawn[0])


def test_lip_references_in_training_repeat_in_a_short_video() -> None:
    got = training_lip_references(2, np.random.default_rng(0))
    assert len(got) == LIP_REFERENCES_TRAINING
    assert set(got.tolist()) <= {0, 1}


@pytest.mark.parametrize("length", [25, 26, 49, 50, 100, 1000])
def test_lip_references_in_inference(length: int) -> None:
    opening = np.random.default_rng(length).random(length).astype(np.float32)
    got = lip_references(opening)
    order = np.argsort(opening)
    wanted = np.linspace(1, length, LIP_REFERENCES) - 1  # places in the sorted video
    places = np.argsort(order)[got]
    assert np.abs(places - wanted).max() <= 0.5
    assert (np.diff(opening[got]) > 0).all()
    assert got[0] == opening.argmin()
    assert got[-1] == opening.argmax()
    assert len(set(got.tolist())) == LIP_REFERENCES


@pytest.mark.parametrize("length", [1, 2, 24])
def test_a_short_video_gives_all_its_frames_once(length: int) -> None:
    opening = np.random.default_rng(1).random(length).astype(np.float32)
    got = lip_references(opening)
    assert sorted(got.tolist()) == list(range(length))
    assert (np.diff(opening[got]) > 0).all()


def test_equal_openings_keep_their_order_and_no_frame_comes_twice() -> None:
    assert lip_references(np.zeros(50, np.float32), 5).tolist() == [0, 12, 24, 37, 49]


def test_a_video_without_frames_has_no_lip_references() -> None:
    with pytest.raises(ValueError, match="no frame"):
        lip_references(np.zeros(0, np.float32))
