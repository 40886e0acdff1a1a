"""Shot boundaries."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.synthetic import smooth_picture

from personatalk.faces.shots import CutDetector
from personatalk.utils.arrays import Image


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
    assert np.abs(frames[12].astype(float) - frames[11]).mean() > CutDetector().threshold, "the flash must show"
    assert cuts(frames) == []


def test_a_flash_at_a_cut_leaves_the_cut() -> None:
    a, b = (smooth_picture(120, 160, 12, seed) for seed in (0, 1))
    assert len(cuts([a] * 10 + [flashed(a, 1.0)] + [b] * 10)) >= 1
    assert cuts([a] * 10 + [b] * 10 + [flashed(b, 1.0)] + [b] * 10) == [10]


def test_another_light_is_no_shot() -> None:
    """One that multiplies the image: a lamp that goes out, flickers or comes back, an exposure that is set anew."""
    picture = smooth_picture(120, 160, 12)
    assert cuts([picture] * 10 + [picture // 3] + [picture] * 10) == []
    assert cuts([picture] * 10 + [picture // 4] * 10 + [picture] * 10) == []
    swinging = 0.6 + 0.4 * np.sin(0.75 * np.arange(60))
    assert cuts([(picture * light).astype(np.uint8) for light in swinging]) == []


def test_a_black_frame_a_long_clipping_light_or_another_colour_are_shots() -> None:
    picture = smooth_picture(120, 160, 12)
    assert cuts([picture] * 10 + [picture * 0] + [picture] * 10) == [10, 11]
    assert cuts([picture] * 10 + [flashed(picture, 1.0)] * 8 + [picture] * 10) == [10, 18]
    red, blue = ((picture * np.array(light)).astype(np.uint8) for light in ((1, 0.3, 0.25), (0.3, 0.4, 1)))
    assert cuts([red] * 10 + [blue] * 10) == [10]


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
