"""Things that the tests hold in front of a mouth, with the truth about where they are."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from personatalk.utils.arrays import Image

Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Colours (H, W, 3) in 0..255 and opacity (H, W) in 0..1."""


def _fibres(height: int, width: int, strength: float, sigma: float) -> npt.NDArray[np.float32]:
    noise = cv2.GaussianBlur(
        np.random.default_rng(0).standard_normal((height, width)).astype(np.float32), (0, 0), sigma
    )
    return strength * noise / noise.std()


def _soft(mask: npt.NDArray[np.uint8], unit: float) -> npt.NDArray[np.float32]:
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(0.4, 0.006 * unit))


def microphone(height: int, width: int, x: float, y: float, unit: float) -> Layer:
    """A dark round head at (x, y) on a grey stick that comes from below on the right."""
    mask = np.zeros((height, width), np.uint8)
    stick = mask.copy()
    end = (round(x + 0.5 * unit), round(y + 3 * unit))
    cv2.line(stick, (round(x), round(y)), end, 255, max(2, round(0.13 * unit)), cv2.LINE_AA)
    cv2.ellipse(mask, (round(x), round(y)), (round(0.23 * unit), round(0.27 * unit)), 0, 0, 360, 255, -1, cv2.LINE_AA)
    colour = np.full((height, width, 3), (62, 62, 66), np.float32)
    rows, columns = np.mgrid[:height, :width]
    mesh = 14 * np.sin(rows * 40 / unit) * np.sin(columns * 40 / unit)
    shine = 50 * np.exp(-(((columns - x) / unit + 0.08) ** 2 + ((rows - y) / unit + 0.1) ** 2) / 0.01)
    colour[mask > 0] = (28 + mesh + shine)[mask > 0][:, None]
    return colour, _soft(np.maximum(mask, stick), unit)


def cup(height: int, width: int, x: float, y: float, unit: float) -> Layer:
    """A white cup with blue stripes, whose middle is at (x, y)."""
    mask = np.zeros((height, width), np.uint8)
    corners = np.array([[-0.36, -0.4], [0.36, -0.4], [0.28, 0.5], [-0.28, 0.5]]) * unit + (x, y)
    cv2.fillConvexPoly(mask, (corners * 16).round().astype(np.int32), 255, cv2.LINE_AA, 4)
    rows, columns = np.mgrid[:height, :width]
    across = np.clip((columns - x) / (0.36 * unit), -1, 1)
    shade = (0.55 + 0.45 * np.sqrt(1 - 0.9 * across**2))[..., None]
    stripe = (np.sin((rows - y) / unit * 28) > 0.2)[..., None]
    colour = shade * np.where(stripe, (40, 80, 170), (232, 230, 224))
    return colour.astype(np.float32), _soft(mask, unit)


def hand(height: int, width: int, x: float, y: float, unit: float, skin: npt.NDArray[np.floating]) -> Layer:
    """Four fingers of the given skin colour around (x, y), and the back of the hand below on the right."""
    colour = np.full((height, width, 3), skin, np.float32)
    total = np.zeros((height, width), np.uint8)
    back = total.copy()
    cv2.ellipse(
        back,
        (round(x + 0.75 * unit), round(y + 0.35 * unit)),
        (round(0.45 * unit), round(0.42 * unit)),
        20,
        0,
        360,
        255,
        -1,
    )
    cv2.line(
        back,
        (round(x + 0.75 * unit), round(y + 0.35 * unit)),
        (round(x + 1.2 * unit), round(y + 2.5 * unit)),
        255,
        round(0.6 * unit),
    )
    shapes = [back]
    for k, length in enumerate((0.55, 0.68, 0.66, 0.5)):
        finger = np.zeros_like(total)
        row = y + (0.17 * (k - 1.5)) * unit
        start = (round(x + 0.5 * unit), round(row + 0.1 * unit))
        cv2.line(finger, start, (round(x + (0.45 - length) * unit), round(row)), 255, round(0.16 * unit), cv2.LINE_AA)
        shapes.append(finger)
    for shape in shapes:
        # Skin is darker where it turns away.
        inside = cv2.distanceTransform((shape > 127).astype(np.uint8), cv2.DIST_L2, 5) / (0.08 * unit)
        shade = (0.72 + 0.28 * np.clip(inside, 0, 1))[..., None]
        colour = np.where(shape[..., None] > 0, shade * skin, colour)
        total = np.maximum(total, shape)
    colour = colour + _fibres(height, width, 3, 1.0)[..., None]
    return np.clip(colour, 0, 255).astype(np.float32), _soft(total, unit)


def held(picture: Image, layer: Layer) -> Image:
    """The layer in front of a picture."""
    colour, opacity = layer
    mixed = picture + (colour - picture) * opacity[..., None]
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
