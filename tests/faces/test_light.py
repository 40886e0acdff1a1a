"""The light on the face, from the colours of its probe points."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.faces.light import GAIN_RANGE, relative_light, well_lit
from personatalk.faces.occlusion import ProbePoints
from personatalk.geometry.morphable_model import MorphableModel

FRAMES = 20


@pytest.fixture(scope="module")
def points(model: MorphableModel) -> ProbePoints:
    return ProbePoints.of(model)


def shown(points: ProbePoints, gains: np.ndarray) -> np.ndarray:
    """Samples of a face of several tones whose mouth moves, under gains (T, 3)."""
    random = np.random.default_rng(0)
    tones = np.array([170, 120, 100]) * random.uniform(0.6, 1.1, (len(points.mean), 1))
    colours = np.repeat(tones[None], len(gains), axis=0)
    colours[:, points.lips] *= random.uniform(0.2, 1.2, (len(gains), 1, 1))
    lit = np.clip(colours * gains[:, None], 0, 255).round()
    return np.concatenate([lit, np.full((*lit.shape[:2], 1), 255)], axis=2).astype(np.uint8)


def test_ordinary_changes_are_none(points: ProbePoints) -> None:
    gains = 1 + 0.08 * np.linspace(-1, 0, FRAMES)[:, None] * np.ones(3)
    assert (relative_light(points, shown(points, gains)) == 1).all()


@pytest.mark.parametrize("light", [(0.3, 0.3, 0.3), (1.4, 1.4, 1.4), (2.0, 2.0, 2.0), (1.0, 0.4, 0.6)])
def test_another_light_is_a_gain_of_each_channel(points: ProbePoints, light: tuple[float, float, float]) -> None:
    gains = np.ones((FRAMES, 3))
    gains[3:6] = light
    found = relative_light(points, shown(points, gains))
    np.testing.assert_allclose(found, gains, rtol=0.06)
    assert well_lit(found)[:3].all()


def test_a_shot_that_is_dark_for_the_most_part_is_told_by_its_bright_frames(points: ProbePoints) -> None:
    gains = np.full((FRAMES, 3), 0.2)
    gains[: FRAMES // 3] = 1
    found = well_lit(relative_light(points, shown(points, gains)))
    assert found.tolist() == [True] * (FRAMES // 3) + [False] * (FRAMES - FRAMES // 3)


@pytest.mark.parametrize("frames", [4, FRAMES])
def test_light_that_changes_all_the_time_has_one_scale(points: ProbePoints, frames: int) -> None:
    gains = np.linspace(0.2, 1, frames)[:, None] * np.ones(3)
    found = relative_light(points, shown(points, gains))
    np.testing.assert_allclose(found / gains, np.median(found / gains), rtol=0.13)


def test_black_frames_have_some_light(points: ProbePoints) -> None:
    gains = np.ones((FRAMES, 3))
    gains[0] = 0
    found = relative_light(points, shown(points, gains))
    assert found[0] == pytest.approx(GAIN_RANGE[0], rel=0.5)
    assert (relative_light(points, shown(points, 0 * gains)) == 1).all()


def test_what_is_not_seen_has_no_say(points: ProbePoints) -> None:
    samples = shown(points, np.ones((FRAMES, 3)))
    hidden = np.arange(len(points.mean)) % 3 > 0
    samples[5, hidden] = 0
    assert (relative_light(points, samples) == 1).all()
