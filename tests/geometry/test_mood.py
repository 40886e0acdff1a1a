"""Mood: a smile passes, syllables and the mouth's opening do not."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from personatalk.geometry.mood import moods
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.utils.arrays import Array

FPS = 25.0


def smile(model: MorphableModel) -> Array:
    """Return the coefficients (E,) of a mouth whose corners go apart while its lips' middles and the chin stay."""
    right, left = model.mouth_corners
    upper, lower = model.inner_lips[0]
    chin = model.jaw[len(model.jaw) // 2]
    said = [*(model.expression[lower] - model.expression[upper]), model.expression[chin, 1]]
    rows = np.stack([model.expression[left, 0] - model.expression[right, 0], *said])
    found: Array = np.linalg.lstsq(rows, np.array([0.1, 0, 0, 0, 0], np.float32), rcond=None)[0]
    return found


def width(model: MorphableModel, beta: Array) -> Array:
    """Return the distance of the mouth's corners over that of the mean face, (T,)."""
    corners = model.expression_only(beta)[..., model.mouth_corners, :]
    return np.linalg.norm(corners[..., 0, :] - corners[..., 1, :], axis=-1) - np.linalg.norm(
        np.subtract(*model.mean[model.mouth_corners])
    )


def moods_of(model: MorphableModel, beta: Array, time: npt.NDArray[np.float64]) -> Array:
    """Return the moods of one shot whose frames are all usable."""
    return moods(model, beta, time, np.ones(len(time), bool), np.zeros(len(time), np.int64))


def test_a_smile_of_some_seconds_passes(model: MorphableModel) -> None:
    time = np.arange(200) / FPS
    smiling = (time >= 4).astype(np.float32)
    got = width(model, moods_of(model, smiling[:, None] * smile(model), time))
    assert got[160:].mean() - got[:40].mean() == pytest.approx(0.1, rel=0.02)
    assert got.mean() == pytest.approx(0, abs=0.002), "the mean is the style's"
    assert np.abs(np.diff(got)).max() < 0.1 / 25, "it comes over a second"


@pytest.mark.parametrize("hertz", [2.0, 4.0, 7.0])
def test_corners_that_move_with_syllables_do_not(model: MorphableModel, hertz: float) -> None:
    time = np.arange(400) / FPS
    got = moods_of(model, np.sin(2 * np.pi * hertz * time)[:, None].astype(np.float32) * smile(model), time)
    assert np.abs(width(model, got))[50:-50].max() < 1e-3
    assert np.abs(width(model, got)).max() < 0.02, "nor much at the ends"


def test_opening_and_chin_stay_as_they_are(model: MorphableModel) -> None:
    random, time = np.random.default_rng(0), np.arange(100) / FPS
    slow = 2 * np.cumsum(random.standard_normal((100, model.num_expression)), axis=0).astype(np.float32) / 5
    got = moods_of(model, slow, time)
    assert np.abs(got).max() > 1
    said = random.standard_normal((100, model.num_expression)).astype(np.float32)
    plain, moody = (model.mouth_opening(model.expression_only(beta)) for beta in (said, said + got))
    np.testing.assert_allclose(moody, plain, atol=1e-5)
    chin = model.jaw[len(model.jaw) // 2]
    np.testing.assert_allclose(model.offsets(got)[:, chin, 1], 0, atol=1e-5)


def test_frames_without_a_face_and_other_shots_do_not_count(model: MorphableModel) -> None:
    time, smiles = np.arange(200) / FPS, smile(model)
    beta = np.tile(smiles, (200, 1))
    beta[100:] *= -1
    shot_of = (np.arange(200) >= 100).astype(np.int64)
    usable = np.arange(200) % 7 > 0
    beta[~usable] = 100
    got = moods(model, beta, time, usable, shot_of)
    assert not got[~usable].any()
    mean = beta[usable].mean(axis=0)
    np.testing.assert_allclose(got[usable & (shot_of == 0)] - (smiles - mean), 0, atol=1e-4)
    np.testing.assert_allclose(got[usable & (shot_of == 1)] - (-smiles - mean), 0, atol=1e-4)
    assert not moods(model, beta, time, np.zeros(200, bool), shot_of).any()


def test_it_goes_by_the_clock_and_not_by_frames(model: MorphableModel) -> None:
    fine, coarse = np.arange(600) / 60, np.arange(120) / 12
    curve = [np.sin(time * 0.9)[:, None].astype(np.float32) * smile(model) for time in (fine, coarse)]
    got = [width(model, moods_of(model, beta, time)) for beta, time in zip(curve, (fine, coarse), strict=True)]
    np.testing.assert_allclose(got[0][::5], got[1], atol=0.003)


def test_a_still_image_has_no_mood(model: MorphableModel) -> None:
    assert not np.abs(moods_of(model, smile(model)[None], np.zeros(1))).max() > 1e-6


def test_a_long_video_takes_little_more_than_its_own_table(model: MorphableModel) -> None:
    time = np.arange(10_000) / FPS
    beta = np.sin(time[:, None] * np.linspace(0.1, 3, model.num_expression)).astype(np.float32)
    tracemalloc.start()
    moods_of(model, beta, time)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 6 * beta.nbytes
