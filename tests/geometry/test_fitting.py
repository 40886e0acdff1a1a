"""Hybrid geometry estimation on made-up clips whose geometry is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.synthetic import Talk, opened, pose_of, talk
from scipy.spatial.transform import Rotation

from personatalk.faces.analysis import tabulate
from personatalk.geometry.camera import project, rotations
from personatalk.geometry.fitting import (
    LAPLACIAN_WEIGHT,
    FitProblem,
    FittedShot,
    Initialiser,
    Tables,
    fit_shape,
    fit_shot,
    laplacian,
    rigid_pose,
)
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.utils.arrays import Array

NOISE = 0.7
"""Noise of the landmarks in per cent of a model unit."""


def estimated(model: MorphableModel, clip: Talk) -> tuple[Tables, Array]:
    initialise = Initialiser(model)
    return tabulate(model, [initialise(landmarks) for landmarks in clip.landmarks])


@pytest.fixture(scope="module")
def clip(model: MorphableModel) -> Talk:
    return talk(model, 100, NOISE, seed=5)


@pytest.fixture(scope="module")
def tables(model: MorphableModel, clip: Talk) -> tuple[Tables, Array]:
    return estimated(model, clip)


@pytest.fixture(scope="module")
def fitted(model: MorphableModel, tables: tuple[Tables, Array]) -> tuple[Array, FittedShot]:
    alpha = fit_shape(model, *tables)
    return alpha, fit_shot(model, tables[0], alpha)


def in_units(pixels: Array, clip: Talk) -> Array:
    """Pixels as per cent of a model unit."""
    return 100 * pixels / np.exp(clip.pose[:, 3])[: len(pixels), None, None]


def rms(x: Array) -> float:
    return float(np.sqrt(np.square(x).mean()))


def test_the_start_is_right_without_noise(model: MorphableModel) -> None:
    clip = talk(model, 8, 0.0, seed=1)
    initialise = Initialiser(model)
    for landmarks, pose, vertices in zip(clip.landmarks, clip.pose, clip.vertices, strict=True):
        found = initialise(landmarks)
        np.testing.assert_array_equal(found.keypoints, landmarks[model.landmarks, :2])
        assert np.abs(found.pose[:3] - pose[:3]).max() < 0.03
        assert abs(found.pose[3] - pose[3]) < 0.03
        picture = project(model.vertices(found.alpha, found.beta), found.pose)
        error = picture[model.keypoints] - project(vertices, pose)[model.keypoints]
        assert rms(error[:, :2]) / np.exp(pose[3]) < 0.008


def test_tuning_recovers_the_keypoints(
    model: MorphableModel, clip: Talk, tables: tuple[Tables, Array], fitted: tuple[Array, FittedShot]
) -> None:
    alpha, shot = fitted
    points = model.keypoints
    picture = project(model.vertices(alpha, shot.beta), shot.pose)
    start = project(model.vertices(tables[1], tables[0].beta), tables[0].pose)
    error, before = (rms(in_units((x - clip.picture)[:, points, :2], clip)) for x in (picture, start))
    noise = rms(in_units(tables[0].keypoints - clip.picture[:, points, :2], clip))
    assert noise == pytest.approx(NOISE, rel=0.1)
    assert error < 0.4 * noise
    assert error < 0.8 * before


def test_tuning_recovers_the_mouth(model: MorphableModel, clip: Talk, fitted: tuple[Array, FittedShot]) -> None:
    alpha, shot = fitted
    wanted, got = model.mouth_opening(clip.vertices), model.mouth_opening(model.vertices(alpha, shot.beta))
    assert np.corrcoef(wanted, got)[0, 1] > 0.98
    assert got.std() == pytest.approx(wanted.std(), rel=0.1)
    assert np.abs(got - wanted).mean() < 0.01


def test_tuning_recovers_the_pose(clip: Talk, fitted: tuple[Array, FittedShot]) -> None:
    difference = np.abs(fitted[1].pose - clip.pose)
    assert difference[:, :3].max() < 0.03
    assert difference[:, 3].max() < 0.03
    assert difference[:, 4:].max() / np.exp(clip.pose[0, 3]) < 0.02


def test_tuning_reduces_jitter(
    model: MorphableModel, clip: Talk, tables: tuple[Tables, Array], fitted: tuple[Array, FittedShot]
) -> None:
    alpha, shot = fitted
    picture = project(model.vertices(alpha, shot.beta), shot.pose)[:, model.keypoints, :2]
    start = project(model.vertices(tables[1], tables[0].beta), tables[0].pose)[:, model.keypoints, :2]
    noisy, before, after = (
        rms(np.diff(x - clip.picture[:, model.keypoints, :2], n=2, axis=0))
        for x in (tables[0].keypoints, start, picture)
    )
    assert after < 0.35 * noisy
    assert after < before


@pytest.mark.slow
def test_windows_join_without_a_trace(model: MorphableModel) -> None:
    clip = talk(model, 150, NOISE, seed=3)
    tables, alpha = estimated(model, clip)
    done: list[int] = []
    whole = fit_shot(model, tables, alpha, window=1000)
    parts = fit_shot(model, tables, alpha, window=40, overlap=20, progress=done.append)
    assert done == [40, 40, 40, 30]
    difference = np.abs(model.vertices(alpha, whole.beta) - model.vertices(alpha, parts.beta))
    assert difference.max() < 0.005
    assert np.abs(whole.pose - parts.pose)[:, :4].max() < 0.002


@pytest.mark.slow
def test_the_resolution_does_not_matter(model: MorphableModel, clip: Talk, tables: tuple[Tables, Array]) -> None:
    small, alpha = tables
    large, large_alpha = estimated(model, replace(clip, landmarks=4 * clip.landmarks))
    np.testing.assert_allclose(large_alpha, alpha, atol=1e-3)
    np.testing.assert_allclose(large.beta, small.beta, atol=1e-3)
    a, b = fit_shot(model, small[:60], alpha), fit_shot(model, large[:60], alpha)
    assert np.abs(a.beta - b.beta).max() < 0.15
    assert np.abs(model.vertices(alpha, a.beta) - model.vertices(alpha, b.beta)).max() < 0.003
    assert np.abs(b.pose[:, 3] - a.pose[:, 3] - np.log(4)).max() < 1e-3
    assert np.abs(b.pose[:, 4:] / 4 - a.pose[:, 4:]).max() < 0.2


@pytest.mark.slow
def test_the_place_in_a_large_picture_does_not_matter(
    model: MorphableModel, clip: Talk, tables: tuple[Tables, Array]
) -> None:
    near, alpha = tables[0][:40], tables[1]
    shift = np.array([7000, 4000], np.float32)
    pose = near.pose.copy()
    pose[:, 4:] += shift
    far = fit_shot(model, Tables(near.keypoints + shift, near.beta, pose), alpha)
    here = fit_shot(model, near, alpha)
    assert np.abs(model.vertices(alpha, far.beta) - model.vertices(alpha, here.beta)).max() < 0.003
    assert np.abs(far.pose[:, 4:] - shift - here.pose[:, 4:]).max() < 0.2


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_frames_can_be_fitted(model: MorphableModel, tables: tuple[Tables, Array], frames: int) -> None:
    shot = fit_shot(model, tables[0][:frames], tables[1])
    assert shot.beta.shape == (frames, model.num_expression)
    assert shot.pose.shape == (frames, 6)
    assert np.isfinite(shot.beta).all()
    assert np.isfinite(shot.pose).all()


@pytest.mark.parametrize("frames", [1, 12])
def test_the_expression_stays_where_the_landmarks_say_nothing(
    model: MorphableModel, tables: tuple[Tables, Array], frames: int
) -> None:
    blind = replace(model, expression=np.zeros_like(model.expression))
    # A steady expression: the Laplacian has nothing to smooth either.
    beta = np.repeat(tables[0].beta[:1], frames, axis=0)
    chosen = replace(tables[0][:frames], beta=beta)
    shot = fit_shot(blind, chosen, tables[1])
    np.testing.assert_allclose(shot.beta, beta, atol=1e-3)
    assert np.abs(shot.pose - chosen.pose)[:, :4].max() > 1e-4, "the pose is still free"


def test_noise_is_not_explained_by_unlikely_expressions(model: MorphableModel, tables: tuple[Tables, Array]) -> None:
    # An expression that hardly shows: only huge coefficients could follow the landmarks' noise.
    faint = replace(model, expression=0.001 * model.expression)
    shot = fit_shot(faint, tables[0][:1], tables[1])
    assert np.abs(shot.beta - tables[0].beta[:1]).max() < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["beta", "pose"])
def test_the_laplacian_steadies(model: MorphableModel, tables: tuple[Tables, Array], name: str) -> None:
    jitter = []
    for weight in (0.0, LAPLACIAN_WEIGHT, 10.0):
        series = getattr(fit_shot(model, tables[0][:40], tables[1], laplacian_weight=weight), name)
        jitter.append(rms(np.diff(series[:, :4], n=2, axis=0)))
    assert jitter[2] < 0.5 * jitter[1]
    assert jitter[1] < jitter[0]


def test_what_fits_already_stays(model: MorphableModel) -> None:
    clip = talk(model, 1, 0.0, seed=2)
    keypoints = clip.picture[:, model.keypoints, :2]
    shot = fit_shot(model, Tables(keypoints, clip.beta, clip.pose), clip.alpha)
    np.testing.assert_allclose(shot.beta, clip.beta, atol=0.01)
    np.testing.assert_allclose(shot.pose, clip.pose, atol=0.01)


def test_the_shape_is_one_for_all_frames(
    model: MorphableModel, clip: Talk, tables: tuple[Tables, Array], fitted: tuple[Array, FittedShot]
) -> None:
    alpha = fitted[0]
    assert alpha.shape == (model.num_identity,)
    # Depth cannot be seen from the front; across the picture the shape must be right.
    error, start = (rms((model.shape(a) - model.shape(clip.alpha))[model.keypoints, :2]) for a in (alpha, tables[1]))
    assert error < 0.02
    assert error < 1.2 * start


def test_a_shift_of_expression_makes_up_for_another_shape(model: MorphableModel) -> None:
    random = np.random.default_rng(0)
    initialise = Initialiser(model)
    one, two = (0.3 * random.standard_normal(model.num_identity).astype(np.float32) for _ in range(2))
    beta = opened(model, 0.1)
    shift = initialise.expression_shift(one, two)
    assert shift.shape == beta.shape
    np.testing.assert_allclose(initialise.expression_shift(one, one), 0, atol=1e-6)
    np.testing.assert_allclose(initialise.expression_shift(two, one), -shift, atol=1e-5)
    face = model.vertices(one, beta)[model.keypoints]
    with_shift, without = (model.vertices(two, b)[model.keypoints] for b in (beta + shift, beta))
    assert rms(with_shift - face) < 0.9 * rms(without - face)


def test_rigid_pose_is_exact(model: MorphableModel) -> None:
    random = np.random.default_rng(1)
    face = model.mean[model.keypoints[model.rigid]]
    for _ in range(20):
        turn = Rotation.random(random_state=random).as_rotvec()
        pose = pose_of(tuple(turn), random.uniform(10, 800), tuple(random.uniform(0, 4000, 2)))
        points = project(face, pose)
        points[:, 2] += 55
        found, depth = rigid_pose(face, points)
        np.testing.assert_allclose(rotations(found), rotations(pose), atol=1e-3)
        np.testing.assert_allclose(found[3], pose[3], atol=1e-3)
        np.testing.assert_allclose(found[4:], pose[4:], atol=0.05)
        assert depth == pytest.approx(55, abs=0.5)


def test_rigid_pose_never_mirrors(model: MorphableModel) -> None:
    face = model.mean[model.keypoints[model.rigid]]
    mirrored = face * np.array([-1, 1, 1], np.float32)
    assert np.linalg.det(rotations(rigid_pose(face, 100 * mirrored)[0])) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("weight", [None, LAPLACIAN_WEIGHT], ids=["shape", "shot"])
def test_the_gradient_is_that_of_the_loss(
    model: MorphableModel, tables: tuple[Tables, Array], weight: float | None
) -> None:
    """Along random directions, far from the start and with a head that is hardly and one that is much turned."""
    random = np.random.default_rng(4)
    problem = FitProblem(model, tables[0][:6], tables[1], 1.3, weight)
    problem.pose_init[:2, :3] *= 1e-4
    start = problem.join(problem.alpha_mean, problem.beta_init, problem.pose_init).astype(np.float64)
    start += 0.2 * random.normal(size=start.shape)
    _, gradient = problem.loss_and_gradient(start)
    for _ in range(5):
        step = random.normal(size=start.shape)
        after, before = (problem.loss_and_gradient(start + sign * 0.02 * step)[0] for sign in (1, -1))
        assert (after - before) / 0.04 == pytest.approx(float(gradient @ step), rel=0.03)


def test_laplacian() -> None:
    time = np.arange(8, dtype=np.float32)[:, None]
    line, square = 3 * time - 2, time**2
    assert np.abs(laplacian(line)).max() < 1e-6
    np.testing.assert_allclose(laplacian(square), np.full((6, 1), 2.0))
    assert len(laplacian(line[:2])) == 0


def test_tables_are_cut_alike(tables: tuple[Tables, Array]) -> None:
    part = tables[0][3:9]
    assert len(part) == len(part.keypoints) == len(part.pose) == 6
    np.testing.assert_array_equal(part.beta[0], tables[0].beta[3])
    np.testing.assert_array_equal(tables[0][np.array([7, 2])].pose, tables[0].pose[[7, 2]])
