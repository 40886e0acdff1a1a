"""Metrics move the way their definitions say: on landmarks and images with a known error."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.landmarks import speaking
from helpers.synthetic import smooth_picture
from scipy.linalg import sqrtm

from personatalk.evaluation import metrics
from personatalk.evaluation.metrics import LIPS, LOWER, RIGID, UPPER
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.utils.arrays import Array
from personatalk.utils.correlation import without_lag

RANDOM = 5


def figures(real: Array, made: Array) -> dict[str, float]:
    openings = metrics.opening(real), metrics.opening(made)
    lag = metrics.best_lag(*openings)
    theirs, ours, eyes = metrics.aligned_lips(*without_lag(real, made, lag))
    return {
        **{"lag": lag, "r": metrics.opening_correlation(*openings, lag), "r0": metrics.opening_correlation(*openings)},
        **{"lmd": float(metrics.lip_distance(theirs, ours, eyes).mean())},
        **{"articulation": float(openings[1].std() / openings[0].std())},
        **{"jitter": metrics.jitter(ours) / metrics.jitter(theirs)},
    }


def test_an_identical_video_is_perfect(model: MorphableModel) -> None:
    real = speaking(model)
    got = figures(real, real)
    assert got == pytest.approx({"lag": 0, "r": 1, "r0": 1, "lmd": 0, "articulation": 1, "jitter": 1}, abs=1e-5)


@pytest.mark.parametrize("late", [-5, 3, 8])
def test_a_late_video_has_its_lag(model: MorphableModel, late: int) -> None:
    got = figures(speaking(model), speaking(model, shift=late))
    assert got["lag"] == late
    assert got["r"] > 0.999 > 0.8 > got["r0"]
    assert got["lmd"] < 0.05


def test_a_lag_that_explains_little_is_none(model: MorphableModel) -> None:
    real = metrics.opening(speaking(model))
    made = real + 0.5 * real.std() * np.random.default_rng(0).standard_normal(len(real))
    assert metrics.best_lag(real, made) == 0
    # The lag of half a frame lies between two: neither gains enough on the other to count as late.
    assert metrics.best_lag(real, metrics.opening(speaking(model, shift=0.5))) in (0, 1)


def test_a_frozen_mouth_follows_nothing(model: MorphableModel) -> None:
    real = speaking(model)
    frozen = np.repeat(real[:1], len(real), axis=0)
    got = figures(real, frozen)
    assert got["r"] == 0
    assert got["articulation"] < 1e-6
    assert got["jitter"] < 0.01
    assert got["lmd"] > 0.5


@pytest.mark.parametrize("gain", [0.5, 1.5])
def test_articulation_is_the_share_of_the_spread(model: MorphableModel, gain: float) -> None:
    real = speaking(model)
    made = real.copy()
    middle = real[:, LOWER].mean(axis=0)
    made[:, LOWER] = middle + gain * (real[:, LOWER] - middle)
    assert figures(real, made)["articulation"] == pytest.approx(gain, rel=0.02)


def test_noise_is_jitter(model: MorphableModel) -> None:
    real = speaking(model)
    noise = np.random.default_rng(1).standard_normal((len(real), len(LIPS), 2)).astype(np.float32)
    made = real.copy()
    made[:, list(LIPS)] += 2 * noise
    got = figures(real, made)
    assert got["jitter"] > 2
    assert got["r"] < 0.9
    assert got["lmd"] == pytest.approx(100 * 2 * np.sqrt(np.pi / 2) / metrics.eye_distance(real)[0], rel=0.1)


def test_head_motion_and_scale_do_not_count(model: MorphableModel) -> None:
    real = speaking(model)
    angle = np.linspace(0, 0.4, len(real))
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    moved = (1.7 * np.einsum("tij,tkj->tki", turn, real) + np.linspace(0, 90, len(real))[:, None, None]).astype(
        np.float32
    )
    got = figures(real, moved)
    assert got["lmd"] < 0.05
    assert got["articulation"] == pytest.approx(1, abs=1e-3)
    assert got["jitter"] == pytest.approx(1, abs=0.02)


def test_a_mirrored_mouth_is_another(model: MorphableModel) -> None:
    real = speaking(model)
    crooked = real.copy()
    crooked[:, 61] += 6
    mirrored = crooked.copy()
    mirrored[..., 0] = 400 - mirrored[..., 0]
    assert figures(crooked, crooked)["lmd"] < 1e-4
    assert figures(crooked, mirrored)["lmd"] > 5


def test_frames_without_a_face_are_left_out(model: MorphableModel) -> None:
    real, made = speaking(model), speaking(model)
    made[10:20] = np.nan
    got = figures(real, made)
    assert got["r"] == pytest.approx(1)
    assert got["lmd"] < 1e-4
    with pytest.raises(ValueError, match="too few frames"):
        metrics.aligned_lips(real, np.full_like(real, np.nan))
    assert np.isnan(metrics.opening_correlation(metrics.opening(real), metrics.opening(np.full_like(real, np.nan))))


def test_closure_is_the_gap_at_the_lips_phones() -> None:
    times = np.arange(50) / 25
    opening = np.full(50, 0.2)
    opening[10:13] = 0.01
    phones = [(0.4, 0.48, "B"), (0.6, 0.8, "AA"), (1.0, 1.2, "S")]
    assert metrics.closure(opening, times, phones) == (pytest.approx(0.05), 1)
    late = np.roll(opening, 5)
    assert metrics.closure(late, times, phones)[0] == pytest.approx(1)
    ratio, count = metrics.closure(opening, times, phones[1:])
    assert np.isnan(ratio) and count == 0


def test_psnr_and_ssim_know_noise_and_blur() -> None:
    image = smooth_picture(96, 80, 3)
    random = np.random.default_rng(RANDOM)
    noisy = np.clip(image + random.normal(0, 10, image.shape), 0, 255).astype(np.uint8)
    assert metrics.psnr(image, image) > 89
    assert metrics.psnr(image, noisy) == pytest.approx(20 * np.log10(255 / 10), abs=0.4)
    assert metrics.ssim(image, image) == pytest.approx(1)
    assert metrics.ssim(image, noisy) < 0.85
    assert metrics.ssim(image, 255 - image) < 0.5
    where = np.zeros(image.shape[:2], bool)
    where[:10] = True
    half = image.copy()
    half[20:] = 0
    assert metrics.psnr(image, half, where) > 89 > 30 > metrics.psnr(image, half)


def test_ssim_is_its_formula() -> None:
    random = np.random.default_rng(RANDOM)
    a, b = (random.integers(0, 256, (11, 9, 1)).astype(np.uint8) for _ in range(2))
    values = []
    for y in range(11 - 6):
        for x in range(9 - 6):
            p, q = (z[y : y + 7, x : x + 7].astype(float).ravel() for z in (a, b))
            cov = np.cov(p, q)
            c1, c2 = 6.5025, 58.5225
            top = (2 * p.mean() * q.mean() + c1) * (2 * cov[0, 1] + c2)
            values.append(top / ((p.mean() ** 2 + q.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2)))
    assert metrics.ssim(np.repeat(a, 3, 2), np.repeat(b, 3, 2)) == pytest.approx(np.mean(values), abs=1e-9)


def test_frechet_distance_of_known_gaussians() -> None:
    first = np.random.default_rng(RANDOM).standard_normal((4000, 3))
    assert metrics.frechet(first, first) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet(first, first + np.array([3.0, 0, 0])) == pytest.approx(9, rel=1e-6)
    # Variances 1 and 4 in three directions: 3 (1 + 4 - 2 * 2).
    assert metrics.frechet(first, 2 * first) == pytest.approx(3, rel=0.05)
    assert np.isnan(metrics.frechet(first, first[:1]))


def test_frechet_distance_is_its_formula_for_any_covariances() -> None:
    random = np.random.default_rng(RANDOM)
    a, b = (random.standard_normal((50, 6)) @ random.standard_normal((6, 6)) for _ in range(2))
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert metrics.frechet(a, b) == pytest.approx(wanted, rel=1e-6)
    # Fewer vectors than dimensions, as with a clip's features.
    assert np.isfinite(metrics.frechet(a[:4], b[:4]))


def test_frames_are_paired_by_time() -> None:
    slow, fast = np.arange(50) / 25, np.arange(60) / 30
    shown = metrics.nearest(slow, fast)
    assert np.abs(fast[shown] - slow).max() <= 1 / 60 + 1e-9
    assert (metrics.nearest(fast, slow) >= 0).all()
    np.testing.assert_array_equal(metrics.nearest(slow, slow), np.arange(50))
    shorter = metrics.nearest(slow, slow[:20])
    np.testing.assert_array_equal(shorter[:21], [*range(20), 19])
    assert (shorter[21:] == -1).all()
    assert metrics.nearest(slow[:3], slow[:1]).tolist() == [0, 0, -1]


def test_the_bootstrap_covers_the_mean() -> None:
    hits = 0
    for seed in range(60):
        values = np.random.default_rng(seed).normal(2, 1, 30)
        low, high = metrics.bootstrap(values, draws=400, seed=seed)
        hits += low < 2 < high
    assert 50 <= hits < 60
    assert np.isnan(metrics.bootstrap([1.0])).all()
    assert metrics.bootstrap([1.0, float("nan"), 1.0]) == (1, 1)


def test_rigid_points_and_lips_are_apart() -> None:
    assert set(RIGID).isdisjoint(LIPS)
    assert len(set(LIPS)) == 40
    assert {UPPER, LOWER} <= set(LIPS)


def test_ssim_and_psnr_are_those_of_scikit_image() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    image = smooth_picture(64, 48, 3)
    noisy = np.clip(image + np.random.default_rng(RANDOM).normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    wanted = skimage.structural_similarity(image, noisy, channel_axis=2)
    assert metrics.ssim(image, noisy) == pytest.approx(wanted, abs=1e-6)
    assert metrics.psnr(image, noisy) == pytest.approx(skimage.peak_signal_noise_ratio(image, noisy), abs=1e-4)


def test_lips_that_stay_open_where_the_real_ones_close_are_told_without_a_text() -> None:
    real = 0.1 + 0.1 * np.sin(np.linspace(0, 40, 400))
    assert metrics.closure_seen(real, real) == pytest.approx(0.01, abs=0.02)
    assert metrics.closure_seen(real, 0.5 * real + 0.1) == pytest.approx(0.51, abs=0.03)
    assert metrics.closure_seen(real, np.full(400, 0.1)) == pytest.approx(1)
    seen_seldom = np.where(np.arange(400) < 5, real, np.nan)
    assert metrics.closure_seen(real, seen_seldom) is None
