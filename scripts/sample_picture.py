"""Drawing and lighting of the embedded sample's character.

All layers (skin, hair, shirt, eyes, mouth) write into one set of per-pixel buffers, which are then lit together.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from sample_face import (
    LOWER_LIDS,
    UPPER_LIDS,
    Array,
    Hair,
    Head,
    IntArray,
    Pose,
    about_neck,
    ear,
    noise,
    normals,
    paint_skin,
    shirt_colour,
    teeth,
    tongue,
    torso,
    unit,
)
from scipy.spatial.transform import Rotation

from personatalk.geometry import mediapipe_mesh, rasterizer
from personatalk.geometry.morphable_model import MorphableModel

BoolArray = npt.NDArray[np.bool_]

SIZE = 512
OVERSAMPLING = 2
PIXELS_PER_UNIT = 132.0 * OVERSAMPLING
ORIGIN = np.array([256.0, 218.0]) * OVERSAMPLING
"""Picture position of the point between the eyes, in oversampled pixels."""

EYE_RADIUS, IRIS_RADIUS, PUPIL_RADIUS = 0.140, 0.070, 0.030
IRIS = np.array([0.075, 0.105, 0.085])
KEY = np.array([-0.48, -0.58, -0.66])
FILL = np.array([0.75, -0.05, -0.65])
RIM = np.array([0.72, -0.35, 0.60])


@dataclass
class Buffers:
    """Per-pixel inputs of the lighting, (H, W, C): what the nearest surface is like."""

    albedo: Array
    normal: Array
    gloss: Array
    depth: Array

    def put(self, where: BoolArray, albedo: Array, normal: Array, gloss: Array, depth: Array) -> None:
        """Overwrite the pixels `where` with another layer's."""
        for mine, other in zip(
            (self.albedo, self.normal, self.gloss, self.depth), (albedo, normal, gloss, depth), strict=True
        ):
            np.copyto(mine, other, where=where.reshape(where.shape + (1,) * (mine.ndim - 2)))


# -------------------------------------------------------------------------------------------------- drawing


def draw(
    points: Array, triangles: IntArray, attributes: Array, both_sides: bool = True
) -> tuple[BoolArray, Array, Array]:
    """Rasterise view-space points: which pixels are hit, their depth in units, and the attributes."""
    flat = points * PIXELS_PER_UNIT
    flat[:, :2] += ORIGIN
    if not both_sides:
        a, b, c = (flat[triangles[:, k], :2] for k in range(3))
        triangles = triangles[np.cross(b - a, c - a) < 0]
    values = np.concatenate([np.ones((len(points), 1)), points[:, 2:], attributes], axis=1)
    picture = rasterizer.render(flat, np.ascontiguousarray(triangles), values, SIZE * OVERSAMPLING)
    hit = picture[..., 0] > 0.5
    return hit, np.where(hit, picture[..., 1], np.inf).astype(np.float32), picture[..., 2:]


class Character:
    """Draws the character: give poses, get pictures."""

    def __init__(self, model: MorphableModel, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.head = Head(model)
        self.skin, self.gloss = paint_skin(self.head, rng)
        self.hair = Hair(self.head, rng)
        self.ears = (ear(-1), ear(1))
        self.torso = torso()
        self.backdrop = backdrop()
        self.grain = noise(rng, (SIZE * OVERSAMPLING,) * 2, (2.0, 2.0))

    def picture(self, pose: Pose) -> npt.NDArray[np.uint8]:
        """One frame, uint8 (SIZE, SIZE, 3), sRGB."""
        turn = Rotation.from_rotvec(pose.turn).as_matrix()
        local = self.head.vertices(pose)
        skin = about_neck(local, turn)
        buffers = empty_buffers()
        self._put_torso(buffers)
        covered = self._put_skin(buffers, skin, turn)
        sparkle = self._put_eyes(buffers, skin, turn, pose, covered)
        self._put_mouth(buffers, skin, turn, pose, covered)
        self._put_hair(buffers, turn)
        light = lit(buffers, shadows(buffers.depth, skin, self.head.triangles))
        light += sparkle[..., None]
        present = np.isfinite(buffers.depth)[..., None]
        linear = np.where(present, light, self.backdrop)
        small = cv2.resize(linear.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return np.round(255 * to_srgb(small)).astype(np.uint8)

    def _put_torso(self, buffers: Buffers) -> None:
        points, triangles, below = self.torso
        values = np.concatenate([normals(points, triangles), below], axis=1)
        hit, depth, out = draw(points, triangles, values, both_sides=False)
        colour, gloss = shirt_colour(out[..., 3], self.grain)
        buffers.put(hit, colour, out[..., :3], gloss, depth)

    def _put_skin(self, buffers: Buffers, skin: Array, turn: Array) -> BoolArray:
        for points, triangles, shade in self.ears:
            shell = about_neck(points, turn)
            values = np.concatenate([normals(shell, triangles), shade], axis=1)
            hit, depth, out = draw(shell, triangles, values)
            gloss = np.full(hit.shape, 0.25, np.float32)
            buffers.put(hit & (depth < buffers.depth), out[..., 3:], out[..., :3], gloss, depth)
        values = np.concatenate([normals(skin, self.head.triangles), self.head.uv], axis=1)
        hit, depth, out = draw(skin, self.head.triangles, values, both_sides=False)
        u, v = np.ascontiguousarray(out[..., 3]), np.ascontiguousarray(out[..., 4])
        colour = cv2.remap(self.skin, u, v, cv2.INTER_LINEAR)
        gloss = cv2.remap(self.gloss, u, v, cv2.INTER_LINEAR)
        buffers.put(hit & (depth < buffers.depth), colour, out[..., :3], gloss, depth)
        return hit

    def _put_eyes(self, buffers: Buffers, skin: Array, turn: Array, pose: Pose, covered: BoolArray) -> Array:
        """Put the eyeballs into the lids' holes; returns the light that they mirror."""
        look = turn @ Rotation.from_rotvec([pose.gaze[1], -pose.gaze[0], 0]).as_matrix()
        sparkle = np.zeros(covered.shape, np.float32)
        for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
            hole = opening_mask(skin[[*upper, *lower[-2:0:-1]]]) & ~covered
            rest = self.head.fine[[upper[0], upper[-1], upper[4], lower[4]]].mean(axis=0)
            centre = about_neck(rest + np.array([0, 0, 0.72 * EYE_RADIUS]), turn)
            normal = sphere_normals(centre)
            colour = eye_colour(normal @ look, self.grain)
            shade = lid_shade(hole)
            depth = (centre[2] + EYE_RADIUS * normal[..., 2]).astype(np.float32)
            buffers.put(hole, colour * shade[..., None], normal, np.full(hole.shape, 0.15, np.float32), depth)
            glint = np.exp(-((np.arccos(np.clip(normal @ unit(np.array([-0.20, -0.24, -1.0])), -1, 1)) / 0.075) ** 4))
            second = np.exp(-((np.arccos(np.clip(normal @ unit(np.array([0.22, 0.16, -1.0])), -1, 1)) / 0.06) ** 2))
            sparkle += hole * shade * (1.1 * glint + 0.10 * second)
        return sparkle

    def _put_mouth(self, buffers: Buffers, skin: Array, turn: Array, pose: Pose, covered: BoolArray) -> None:
        ring = [*mediapipe_mesh.UPPER_LIP_INNER, *mediapipe_mesh.LOWER_LIP_INNER[-2:0:-1]]
        hole = opening_mask(skin[ring]) & ~covered
        if not hole.any():
            return
        inside = empty_buffers()
        inside.albedo[:] = [0.060, 0.012, 0.010]
        inside.normal[:] = [0, 0, -1]
        inside.depth[:] = 0.5
        jaw = np.array([0, 0.56 * pose.opening, 0.1 * pose.opening])
        points, triangles = tongue()
        muscle = about_neck(points + 0.7 * jaw, turn)
        hit, depth, out = draw(muscle, triangles, normals(muscle, triangles))
        inside.put(hit, np.broadcast_to([0.36, 0.10, 0.10], out.shape), -out * np.sign(out[..., 2:]), 0.5 * hit, depth)
        for upper in (False, True):
            points, triangles, place = teeth(upper)
            row = about_neck(points + (0 if upper else 1) * jaw, turn)
            hit, depth, out = draw(row, triangles, np.concatenate([normals(row, triangles), place], axis=1))
            colour, present = tooth_colour(out[..., 3], out[..., 4])
            normal = -out[..., :3] * np.sign(out[..., 2:3])
            inside.put(hit & present & (depth < inside.depth), colour, normal, 0.5 * hit, depth)
        deep = np.clip(1.05 - (inside.depth + 0.10) / 0.50, 0.25, 1)
        shade = deep * cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 7) ** 0.8
        inside.albedo *= (shade * lid_shade(hole))[..., None]
        inside.gloss *= shade
        buffers.put(hole, inside.albedo, inside.normal, inside.gloss, np.maximum(inside.depth, -0.1))

    def _put_hair(self, buffers: Buffers, turn: Array) -> None:
        points, values = self.hair.ribbons(turn)
        hit, depth, out = draw(points, self.hair.triangles, values)
        gloss = np.full(hit.shape, 0.30, np.float32)
        buffers.put(hit & (depth < buffers.depth), out[..., 3:6], unit(out[..., :3]), gloss, depth)


def empty_buffers() -> Buffers:
    """Buffers of a picture with nothing in it."""
    shape = (SIZE * OVERSAMPLING,) * 2
    colour, normal = np.zeros((2, *shape, 3), np.float32)
    return Buffers(colour, normal, np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32))


def screen() -> tuple[Array, Array]:
    """Horizontal and vertical place of every pixel in units."""
    rows, columns = np.mgrid[: SIZE * OVERSAMPLING, : SIZE * OVERSAMPLING].astype(np.float32)
    return (columns - ORIGIN[0]) / PIXELS_PER_UNIT, (rows - ORIGIN[1]) / PIXELS_PER_UNIT


def backdrop() -> Array:
    """A plain wall with a soft pool of light."""
    x, y = screen()
    glow = np.exp(-(((x - 0.5) / 1.9) ** 2) - ((y - 0.1) / 1.7) ** 2)[..., None]
    return np.array([0.070, 0.085, 0.095]) + glow * np.array([0.20, 0.215, 0.215])


def opening_mask(ring: Array) -> BoolArray:
    """Pixels inside a closed ring of view-space points, and a few around it."""
    mask = np.zeros((SIZE * OVERSAMPLING,) * 2, np.uint8)
    corners = ring[:, :2] * PIXELS_PER_UNIT + ORIGIN
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0


def lid_shade(hole: BoolArray) -> Array:
    """The shadow that an opening's upper edge throws into it."""
    mask = hole.astype(np.float32)
    lower = np.roll(mask, 9, axis=0) * mask
    return 0.35 + 0.65 * cv2.GaussianBlur(lower, (0, 0), 4.5)


def sphere_normals(centre: Array) -> Array:
    """Normals of an eyeball at every pixel; beyond its outline those of the rim."""
    x, y = screen()
    n = np.stack([x - centre[0], y - centre[1]], axis=-1) / EYE_RADIUS
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 0.98) / 0.98
    return np.concatenate([n, -np.sqrt(1 - (n**2).sum(-1, keepdims=True))], axis=-1)


def eye_colour(local: Array, grain: Array) -> Array:
    """Colour of the eyeball by its normal in the eye's own frame."""
    radius = EYE_RADIUS * np.hypot(local[..., 0], local[..., 1])
    angle = np.arctan2(local[..., 1], local[..., 0])
    white = np.array([0.62, 0.57, 0.54]) * (1 - 0.5 * np.clip(radius / EYE_RADIUS, 0, 1)[..., None] ** 4 * [0.5, 1, 1])
    streaks = 1 + 0.22 * np.sin(23 * angle + 2 * np.sin(5 * angle)) + 0.15 * np.sin(41 * angle)
    warm = np.clip((0.045 - radius) / 0.015, 0, 1)[..., None] * [0.10, 0.05, -0.02]
    iris = (IRIS + warm) * streaks[..., None] * (1.15 - (radius / IRIS_RADIUS)[..., None] ** 4 * 0.9)
    ring = np.clip((IRIS_RADIUS + 0.004 - radius) / 0.008, 0, 1)[..., None]
    pupil = np.clip((radius - PUPIL_RADIUS) / 0.004, 0, 1)[..., None]
    return white * (1 - ring) + np.clip(iris, 0.006, 1) * ring * (0.03 + 0.97 * pupil)


def tooth_colour(along: Array, height: Array) -> tuple[Array, BoolArray]:
    """Colour of a row of teeth, and where it has not ended."""
    place = (np.sign(along) * np.abs(along) ** 0.9 * 5.0) % 1.0
    between = np.abs(place - 0.5) * 2
    present = height < 1 - 0.07 * between**4
    gap = 1 - 0.40 * np.exp(-(((1 - between) / 0.08) ** 2))
    gum = np.clip((height - 0.16 - 0.1 * between**2) / 0.06, 0, 1)[..., None]
    enamel = np.array([0.66, 0.60, 0.50]) * gap[..., None] * (0.85 + 0.15 * height[..., None])
    return gum * enamel + (1 - gum) * np.array([0.40, 0.13, 0.12]), present


# ------------------------------------------------------------------------------------------------- lighting


def shadows(depth: Array, skin: Array, triangles: IntArray) -> Array:
    """Return the part of the key light that reaches each pixel past the head, 0..1."""
    forward = unit(-KEY)
    right = unit(np.cross([0, 1, 0], forward))
    frame = np.stack([right, np.cross(forward, right), forward])
    x, y = screen()
    place = np.stack([x, y, np.where(np.isfinite(depth), depth, 0)], axis=-1) @ frame.T
    side, zoom = 512, 110.0

    def on_map(points: Array) -> Array:
        return points * [zoom, zoom, 1] + [side / 2, side / 2, 0]

    caster = on_map(skin @ frame.T)
    drawn = rasterizer.render(caster, triangles, np.stack([np.ones(len(caster)), caster[:, 2]], axis=1), side)
    nearest = np.where(drawn[..., 0] > 0.5, drawn[..., 1], 9.0).astype(np.float32)
    mapped = on_map(place).astype(np.float32)
    total = np.zeros(depth.shape, np.float32)
    for dx, dy in ((0, 0), (4, 1), (-4, -1), (1, 4), (-1, -4), (3, -3), (-3, 3)):
        seen = cv2.remap(nearest, mapped[..., 0] + dx, mapped[..., 1] + dy, cv2.INTER_NEAREST, borderValue=9.0)
        total += np.clip(1 - (mapped[..., 2] - seen - 0.045) / 0.05, 0, 1) / 7
    return cv2.GaussianBlur(total, (0, 0), 3.5)


def cavities(depth: Array) -> Array:
    """Darkening of places that lie deeper than their surroundings (after Luft et al. 2006)."""
    flat = np.minimum(depth, 1.2)
    near = np.clip(flat - cv2.GaussianBlur(flat, (0, 0), 9), 0, 0.12)
    wide = np.clip(flat - cv2.GaussianBlur(flat, (0, 0), 40), 0, 0.4)
    return 1 - 1.6 * near - 0.9 * wide


def lit(buffers: Buffers, key_share: Array) -> Array:
    """Light every pixel: key, fill and rim light, a soft sky, and a highlight; linear light."""
    normal = unit(buffers.normal)
    softness = np.array([0.36, 0.20, 0.15])

    def wrapped(direction: Array) -> Array:
        facing = (normal @ unit(direction))[..., None]
        return np.clip((facing + softness) / (1 + softness), 0, 1) ** 1.3

    def highlight(direction: Array, power: float) -> Array:
        half = unit(unit(direction) + np.array([0, 0, -1]))
        return np.clip(normal @ half, 0, 1) ** power

    # Skin lets red light through: its shadows are warm.
    share = key_share[..., None] ** np.array([0.75, 1.0, 1.1])
    sky = 0.5 - 0.5 * normal[..., 1:2]
    ambient = np.array([0.15, 0.14, 0.15]) * (0.45 + 0.55 * sky) * 1.7
    light = 1.18 * share * wrapped(KEY) * [1.0, 0.95, 0.88] + 0.30 * wrapped(FILL) * [0.85, 0.95, 1.1]
    edge = np.clip(1 + normal[..., 2:], 0, 1) ** 3 * np.clip(normal @ unit(RIM) + 0.3, 0, 1)[..., None]
    colour = buffers.albedo * (light + ambient) * cavities(buffers.depth)[..., None]
    shine = key_share * (0.10 * highlight(KEY, 18) + 0.16 * highlight(KEY, 70)) + 0.03 * highlight(FILL, 20)
    return colour + (buffers.gloss * shine)[..., None] + 0.22 * edge * (0.25 + buffers.albedo)


def to_srgb(linear: Array) -> Array:
    """Linear light to sRGB, 0..1, with a soft shoulder for highlights."""
    x = np.clip(linear, 0, None)
    x = np.where(x > 0.7, 0.7 + 0.3 * np.tanh((x - 0.7) / 0.3), x)
    return np.where(x < 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
