"""Morphable model, projection and the face crop."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.synthetic import opened, pose_of, smooth_picture
from scipy.spatial.transform import Rotation

from personatalk.geometry.camera import (
    CROP_CENTRE_Y,
    CROP_SIZE,
    CROP_SPAN,
    apply_transform,
    crop_transform,
    invert_transform,
    project,
    warp,
)
from personatalk.geometry.fitting import Initialiser
from personatalk.geometry.morphable_model import MorphableModel


def test_save_and_load_keep_the_model_to_half_precision(model: MorphableModel, tmp_path: Path) -> None:
    # Numbers that float16 cannot hold exactly.
    model = replace(model, mean=model.mean * np.float32(1.0003), identity=model.identity * np.float32(1.0007))
    path = tmp_path / "new" / "model.safetensors"
    model.save(path)
    read = MorphableModel.load(path)
    for field in fields(model):
        wanted, got = getattr(model, field.name), getattr(read, field.name)
        assert got.dtype == (np.int64 if wanted.dtype.kind == "i" else np.float32), field.name
        if wanted.dtype.kind == "i":
            np.testing.assert_array_equal(got, wanted)
        else:
            np.testing.assert_allclose(got, wanted, rtol=2**-11, atol=2**-24)
    assert not np.array_equal(read.mean, model.mean)
    read.save(path)
    again = MorphableModel.load(path)
    np.testing.assert_array_equal(again.identity, read.identity)


def test_the_units_are_the_eyes_distance(model: MorphableModel) -> None:
    eyes = model.mean[[33, 263]]
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(1, abs=2e-3)
    np.testing.assert_allclose(eyes.mean(axis=0)[:2], 0, atol=2e-3)
    assert eyes[0, 0] < 0 < eyes[1, 0]
    assert model.mean[152, 1] > model.mean[10, 1], "y must point down"
    assert model.mean[1, 2] < model.mean[234, 2], "z must point away from the camera"


def test_shape_and_expression_add_up(model: MorphableModel) -> None:
    random = np.random.default_rng(0)
    alpha = random.standard_normal((5, model.num_identity)).astype(np.float32)
    beta = random.standard_normal((5, model.num_expression)).astype(np.float32)
    got = model.vertices(alpha, beta)
    assert got.shape == (5, model.num_vertices, 3)
    assert got.dtype == np.float32
    plain = model.mean + sum(alpha[2, i] * model.identity[:, :, i] for i in range(model.num_identity))
    plain = plain + sum(beta[2, e] * model.expression[:, :, e] for e in range(model.num_expression))
    np.testing.assert_allclose(got[2], plain, atol=1e-5)
    np.testing.assert_allclose(model.expression_only(beta), model.vertices(0 * alpha, beta), atol=1e-6)
    np.testing.assert_allclose(model.shape(alpha), model.vertices(alpha, 0 * beta), atol=1e-6)


def test_mouth_opening_follows_the_jaw(model: MorphableModel) -> None:
    gaps = [0.0, 0.05, 0.1, 0.2, 0.3]
    faces = np.stack([model.expression_only(opened(model, gap)) for gap in gaps])
    opening = model.mouth_opening(faces)
    np.testing.assert_allclose(opening, opening[0] + gaps, atol=0.025)  # the lips also move in depth
    assert (np.diff(opening) > 0.04).all()
    assert float(model.mouth_opening(faces[3])) == pytest.approx(float(opening[3]))


def test_colours_are_a_code_of_the_place(model: MorphableModel) -> None:
    colours = model.colours()
    np.testing.assert_allclose(colours.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(colours.max(axis=0), 1, atol=1e-6)
    assert len(np.unique(colours.round(3), axis=0)) > 0.98 * model.num_vertices


POINTS = np.array([[1.0, 2.0, 3.0], [-0.5, 0.25, 0.0]], np.float32)


@pytest.mark.parametrize(
    "pose, wanted",
    [
        ((0, 0, 0, 0, 0, 0), POINTS),
        ((0, 0, np.pi / 2, 0, 0, 0), POINTS[:, [1, 0, 2]] * [-1, 1, 1]),
        ((0, np.pi / 2, 0, 0, 0, 0), POINTS[:, [2, 1, 0]] * [1, 1, -1]),
        ((np.pi / 2, 0, 0, 0, 0, 0), POINTS[:, [0, 2, 1]] * [1, -1, 1]),
        ((0, 0, 0, np.log(3), 0, 0), 3 * POINTS),
        ((0, 0, 0, 0, 10, -20), POINTS + np.array([10, -20, 0])),
        ((0, 0, np.pi, np.log(2), 5, 7), POINTS * [-2, -2, 2] + np.array([5, 7, 0])),
    ],
)
def test_project_known_poses(pose: tuple[float, ...], wanted: np.ndarray) -> None:
    got = project(POINTS, np.array(pose, np.float32))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_project_takes_many_frames(model: MorphableModel) -> None:
    random = np.random.default_rng(1)
    poses = np.stack([pose_of(tuple(random.normal(0, 0.4, 3)), 80 + 10 * i, (50 * i, 99)) for i in range(4)])
    faces = model.expression_only(random.standard_normal((4, model.num_expression)).astype(np.float32))
    together = project(faces, poses)
    for i in range(4):
        np.testing.assert_allclose(together[i], project(faces[i], poses[i]), atol=1e-3)


@pytest.mark.parametrize("size", [64, CROP_SIZE])
@pytest.mark.parametrize("roll", [0.0, 0.6, -2.5])
@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_the_eyes_middle_lies_where_the_crop_says(roll: float, yaw: float, size: int) -> None:
    turn = (Rotation.from_rotvec([0, 0, roll]) * Rotation.from_rotvec([0, yaw, 0])).as_rotvec()
    pose = pose_of(tuple(turn), 173, (711, 402))
    got = apply_transform(crop_transform(pose, size), pose[None, 4:6])[0]
    middle = (size - 1) / 2
    np.testing.assert_allclose(got, [middle, middle - size * CROP_CENTRE_Y / CROP_SPAN], atol=1e-3 * size)


def test_the_crop_undoes_roll_scale_and_place(model: MorphableModel) -> None:
    random = np.random.default_rng(2)
    face = model.expression_only(opened(model, 0.2))
    for _ in range(10):
        yaw_pitch = Rotation.from_rotvec([*random.uniform(-0.5, 0.5, 2), 0])
        roll = Rotation.from_rotvec([0, 0, random.uniform(-3, 3)])
        # Rotations without roll of their own: the x axis stays level.
        x, y, _ = yaw_pitch.as_matrix()[:, 0]
        level = Rotation.from_rotvec([0, 0, -np.arctan2(y, x)]) * yaw_pitch
        plain = pose_of(tuple(level.as_rotvec()), 100, (0, 0))
        moved = pose_of(tuple((roll * level).as_rotvec()), random.uniform(20, 900), (1234, 987))
        wanted = apply_transform(crop_transform(plain), project(face, plain))
        got = apply_transform(crop_transform(moved), project(face, moved))
        np.testing.assert_allclose(got, wanted, atol=0.05)


def test_the_crop_holds_the_generated_face(model: MorphableModel) -> None:
    pose = pose_of()
    face = model.expression_only(opened(model, 0.35))
    crop = apply_transform(crop_transform(pose), project(face, pose))[model.lower > 0]
    assert crop[:, :2].min() > 0
    assert crop[:, :2].max() < CROP_SIZE - 1


def test_the_crop_does_not_follow_the_mouth(model: MorphableModel) -> None:
    initialise, pose = Initialiser(model), pose_of((0.1, 0.2, -0.1), 130, (500, 400))
    corners = np.array([[0, 0], [CROP_SIZE, 0], [0, CROP_SIZE], [CROP_SIZE, CROP_SIZE]], np.float32)
    places = []
    for gap in (0.0, 0.3):
        landmarks = np.zeros((478, 3), np.float32)
        points = project(model.expression_only(opened(model, gap)), pose)
        landmarks[model.landmarks] = points[model.keypoints]
        found = initialise(landmarks).pose
        places.append(apply_transform(invert_transform(crop_transform(found)), corners))
    # The jaw has moved by 0.3 units = 39 pixels.
    assert np.abs(places[0] - places[1]).max() < 2


def test_transforms_invert(model: MorphableModel) -> None:
    random = np.random.default_rng(3)
    transform = crop_transform(pose_of((0.2, -0.3, 0.8), 311, (1500, 700)))
    back = invert_transform(transform)
    points = random.uniform(-500, 2500, (40, 3)).astype(np.float32)
    kept = points.copy()
    np.testing.assert_allclose(apply_transform(back, apply_transform(transform, points)), points, atol=0.01)
    np.testing.assert_array_equal(points, kept)
    flat = apply_transform(transform, points[:, :2])
    assert flat.shape == (40, 2)
    np.testing.assert_array_equal(flat, apply_transform(transform, points)[:, :2])
    # Depth is scaled as the plane is.
    zoom = np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(points[0, :2] - points[1, :2])
    np.testing.assert_allclose(apply_transform(transform, points)[:, 2], zoom * points[:, 2], rtol=1e-3)


@pytest.mark.parametrize("asked, shown", [(0.2, 0.2), (-0.05, 0.0)])
def test_lips_that_pass_through_each_other_meet(model: MorphableModel, asked: float, shown: float) -> None:
    vertices = model.mean.copy()
    upper, lower = model.inner_lips.T
    vertices[lower] = vertices[upper] + np.array([0, asked, 0], np.float32)
    met = model.without_overlap(vertices)
    np.testing.assert_allclose(met[lower] - met[upper], np.tile([0, shown, 0], (len(upper), 1)), atol=1e-6)
    np.testing.assert_allclose(met[lower] + met[upper], vertices[lower] + vertices[upper], atol=1e-6)
    others = np.setdiff1d(np.arange(model.num_vertices), model.inner_lips)
    np.testing.assert_array_equal(met[others], vertices[others])
    assert float(model.mouth_opening(model.join(vertices, model.mean))) == pytest.approx(shown, abs=1e-5)


def test_join_takes_each_side_exactly(model: MorphableModel) -> None:
    random = np.random.default_rng(4)
    video, generated = (random.standard_normal((3, model.num_vertices, 3)).astype(np.float32) for _ in range(2))
    generated = model.without_overlap(generated)
    joined = model.join(generated, video)
    upper, lower = model.lower == 0, model.lower == 1
    seam = ~(upper | lower)
    assert upper.sum() > 100
    assert lower.sum() > 100
    assert seam.sum() > 5
    np.testing.assert_array_equal(joined[:, upper], video[:, upper])
    np.testing.assert_array_equal(joined[:, lower], generated[:, lower])
    low, high = np.minimum(video, generated), np.maximum(video, generated)
    assert ((joined >= low - 1e-6) & (joined <= high + 1e-6)).all()
    assert (joined[:, seam] != video[:, seam]).any(axis=(0, 2)).all()


def test_the_eyes_are_the_videos_and_the_lips_are_generated(model: MorphableModel) -> None:
    assert (model.lower[model.lips] == 1).all()
    assert (model.lower[[33, 133, 159, 145, 263, 362, 386, 374, 70, 300, 10]] == 0).all()


def test_the_seam_rises_with_height(model: MorphableModel) -> None:
    midline = np.flatnonzero(np.abs(model.mean[:, 0]) < 0.03)
    order = midline[np.argsort(model.mean[midline, 1])]
    weight = model.lower[order]
    assert len(order) > 15
    assert (np.diff(weight) >= 0).all()
    assert weight[0] == 0
    assert weight[-1] == 1
    assert model.lower.min() >= 0
    assert model.lower.max() <= 1


def ramp(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("zoom", [0.3, 0.9, 1.7])
def test_warp_takes_every_pixel_from_its_place(zoom: float) -> None:
    size = 32
    turn = 0.35
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.array([[cos, sin], [-sin, cos]])
    offset = (size - 1) / 2 - linear @ [120, 100]
    transform = np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)
    got = warp(ramp(200, 250), transform, size)
    y, x = np.mgrid[:size, :size]
    place = apply_transform(invert_transform(transform), np.stack([x, y], axis=-1).astype(np.float32))
    assert got.shape == (size, size, 3)
    assert np.abs(got[..., :2] - place).max() < 1.1
    assert np.abs((got[..., :2] - place).mean()) < 0.6


@pytest.mark.parametrize("zoom", [0.3, 1.0])
def test_warp_repeats_the_edge(zoom: float) -> None:
    picture = smooth_picture(60, 60, 3)
    transform = np.array([[zoom, 0, 100], [0, zoom, 10]], np.float32)
    got = warp(picture, transform, 128)
    assert got[:, :90].std(axis=1).max() < 1e-6, "all columns left of the picture must be alike"
    assert np.abs(got[60, 5].astype(int) - picture[round(50 / zoom) if zoom == 1 else -1, 0]).max() < 25


def test_a_large_face_does_not_alias() -> None:
    y, x = np.mgrid[:900, :900]
    board = np.repeat((255 * ((x + y) % 2))[..., None], 3, axis=2).astype(np.uint8)
    cos, sin = 0.26 * np.cos(0.05), 0.26 * np.sin(0.05)
    transform = np.array([[cos, sin, 10], [-sin, cos, 15]], np.float32)
    got = warp(board, transform)[40:200, 40:200].astype(float)
    plain = cv2.warpAffine(board, transform, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)[40:200, 40:200]
    assert plain.std() > 30, "the pattern does not alias: the test is void"
    assert got.std() < 2
    assert got.mean() == pytest.approx(127.5, abs=2)


def test_the_low_pass_keeps_what_the_crop_can_show() -> None:
    picture = smooth_picture(700, 900, 25)
    transform = np.array([[0.3, 0, -20], [0, 0.3, 5]], np.float32)
    got = warp(picture, transform)
    plain = cv2.warpAffine(
        picture, transform, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    assert np.abs(got.astype(int) - plain).max() <= 4
