"""Made-up faces, pictures and speech for the tests of the method's modules."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from personatalk.audio.rates import SAMPLE_RATE
from personatalk.geometry.camera import CROP_SIZE, apply_transform, crop_transform, project
from personatalk.geometry.mediapipe_mesh import NUM_LANDMARKS
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.utils.arrays import Array, Image


def opened(model: MorphableModel, gap: float) -> Array:
    """Expression that opens the mouth by `gap` model units more than at rest (the least one that does)."""
    upper, lower = model.inner_lips[0]
    direction = model.expression[lower, 1] - model.expression[upper, 1]
    return (direction * gap / (direction @ direction)).astype(np.float32)


def pose_of(
    turn: tuple[float, float, float] = (0, 0, 0),
    scale: float = 100.0,
    place: tuple[float, float] = (300, 200),
) -> Array:
    """A pose from its parts."""
    return np.array([*turn, np.log(scale), *place], np.float32)


def face_in_crop(
    model: MorphableModel, size: int = CROP_SIZE, gap: float = 0.0, turn: tuple[float, float, float] = (0, 0, 0)
) -> Array:
    """Vertices (V, 3) of the mean person in crop pixels."""
    pose = pose_of(turn)
    vertices = model.vertices(np.zeros(model.num_identity, np.float32), opened(model, gap))
    return apply_transform(crop_transform(pose, size), project(vertices, pose))


def smooth_picture(height: int, width: int, sigma: float, seed: int = 0) -> Image:
    """Random smooth colours over the whole range, uint8 (height, width, 3)."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return (20 + 215 * smooth).astype(np.uint8)


def psnr(a: Image, b: Image, where: npt.NDArray[np.bool_] | slice = slice(None)) -> float:
    """Peak signal-to-noise ratio of two pictures in dB, over chosen pixels."""
    squared = (a[where].astype(np.float64) - b[where]) ** 2
    return float(10 * np.log10(255**2 / max(squared.mean(), 1e-12)))


def speech_like(seconds: float, seed: int = 0, level: float = 0.15) -> Array:
    """Noise with syllables, 16 kHz."""
    count = round(seconds * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time) * np.sin(2 * np.pi * 0.7 * time + 1)
    noise = np.random.default_rng(seed).standard_normal(count)
    return (level * syllables * noise).astype(np.float32)


@dataclass(frozen=True)
class Talk:
    """A clip of a moving face made from the morphable model, with what a landmark network would see of it."""

    alpha: Array
    beta: Array
    pose: Array
    vertices: Array
    picture: Array
    landmarks: Array


def talk(model: MorphableModel, frames: int, noise: float, scale: float = 120.0, seed: int = 0) -> Talk:
    """A clip of smooth random motion; the landmarks' noise is in per cent of a model unit."""
    random = np.random.default_rng(seed)
    time = np.arange(frames) / 25
    alpha = 0.5 * random.standard_normal(model.num_identity).astype(np.float32)
    speed, phase = random.uniform(0.3, 2.5, model.num_expression), random.uniform(0, 6, model.num_expression)
    size = 0.8 / (1 + 0.15 * np.arange(model.num_expression))
    beta = (size * np.sin(2 * np.pi * speed * time[:, None] + phase)).astype(np.float32)
    # The mouth opens and closes on top, three times a second.
    beta += (0.06 * (1 - np.cos(2 * np.pi * 3 * time)))[:, None].astype(np.float32) * opened(model, 1.0)
    pose = np.zeros((frames, 6), np.float32)
    for k in range(3):
        pose[:, k] = 0.15 * np.sin(2 * np.pi * random.uniform(0.1, 0.4) * time + random.uniform(0, 6))
    pose[:, 3] = np.log(scale) + 0.03 * np.sin(0.5 * time)
    pose[:, 4:] = scale * np.stack([2.5 + 0.1 * np.sin(0.7 * time), 2 + 0.05 * np.sin(0.9 * time)], axis=1)
    vertices = model.vertices(alpha, beta)
    picture = project(vertices, pose)
    landmarks = np.zeros((frames, NUM_LANDMARKS, 3), np.float32)
    landmarks[:, model.landmarks] = picture[:, model.keypoints]
    landmarks += (noise * scale / 100 * random.standard_normal(landmarks.shape)).astype(np.float32)
    return Talk(alpha, beta, pose, vertices, picture, landmarks)
