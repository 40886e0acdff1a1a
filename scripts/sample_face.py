"""The character of the embedded sample: a shaded head on the package's mean face, in geometry and colours.

Lengths are in the model's unit (the distance between the outer eye corners), x right, y down, z away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.sparse import csr_matrix

from personatalk.geometry import mediapipe_mesh, rasterizer
from personatalk.geometry.morphable_model import MorphableModel

Array = npt.NDArray[Any]
"""Numbers of either precision; the rasteriser and the filters take single, geometry is done in double."""
IntArray = npt.NDArray[np.int64]

SKULL_CENTRE = np.array([0.0, -0.12, 0.72])
SKULL_RADII = np.array([0.86, 1.0, 1.02])
NECK_PIVOT = np.array([0.0, 1.15, 0.75])
RINGS = 8
TEXTURE = (2048, 1024)
"""Width and height of the skin's texture in pixels."""
OVAL = (*mediapipe_mesh.JAW_VERTICES, *reversed(mediapipe_mesh.FOREHEAD))
UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))
CREASES = ((130, 247, 30, 29, 27, 28, 56, 190), (359, 467, 260, 259, 257, 258, 286, 414))
BROW_LINES = (((46, 53, 52, 65, 55), (70, 63, 105, 66, 107)), ((276, 283, 282, 295, 285), (300, 293, 334, 296, 336)))

SKIN = np.array([0.60, 0.335, 0.225])
LIPS = np.array([0.40, 0.125, 0.105])
HAIR = np.array([0.072, 0.036, 0.019])
SHIRT = np.array([0.035, 0.115, 0.175])


@dataclass(frozen=True)
class Pose:
    """Pose of the character in one frame.

    Attributes:
        opening: Gap between the inner lips in units, 0 when they touch.
        width: Change of the mouth's width in units.
        blink: 0 (eyes open) .. 1 (closed).
        brows: How far the brows are raised in units.
        turn: Rotation vector of the head in radians.
        gaze: Angles of the eyes to the right and down in radians, against the head.
    """

    opening: float
    width: float
    blink: float
    brows: float
    turn: Array
    gaze: Array


# ------------------------------------------------------------------------------------------------- surfaces


def unit(vectors: Array) -> Array:
    """Vectors of length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def oriented(triangles: IntArray) -> IntArray:
    """The same triangles, all wound alike: neighbours run along their common edge in opposite directions."""
    by_edge: dict[frozenset[int], list[int]] = {}
    for number, triangle in enumerate(triangles):
        for k in range(3):
            by_edge.setdefault(frozenset((int(triangle[k]), int(triangle[k - 1]))), []).append(number)
    out, done, queue = triangles.copy(), {0}, [0]
    while queue:
        a, b, c = out[queue.pop()].tolist()
        for edge in ((a, b), (b, c), (c, a)):
            for other in set(by_edge[frozenset(edge)]) - done:
                x, y, z = out[other].tolist()
                if edge in ((x, y), (y, z), (z, x)):
                    out[other] = out[other][::-1]
                done.add(other)
                queue.append(other)
    return out


def subdivide(triangles: IntArray, count: int) -> tuple[csr_matrix, IntArray]:
    """One step of Loop's subdivision: the matrix from old to new vertices, and the new triangles."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, inverse, uses = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1, 3)
    border = uses == 1
    opposite = np.zeros((len(unique), count))
    np.add.at(opposite, (inverse, triangles[:, [2, 0, 1]]), 1 / 8)
    odd = opposite * ~border[:, None]
    rows = np.arange(len(unique))
    for end in unique.T:
        odd[rows, end] += np.where(border, 1 / 2, 3 / 8)
    even = np.zeros((count, count))
    inner, outer = unique[~border], unique[border]
    on_border = np.isin(np.arange(count), outer)
    valence = np.maximum(np.bincount(unique.ravel(), minlength=count), 1)
    weight = np.where(valence == 3, 3 / 16, 3 / (8 * valence))
    for a, b in (*inner, *inner[:, ::-1]):
        even[a, b] = 0 if on_border[a] else weight[a]
    for a, b in (*outer, *outer[:, ::-1]):
        even[a, b] = 1 / 8
    np.fill_diagonal(even, 1 - even.sum(axis=1))
    ab, bc, ca = (inverse + count).T
    a, b, c = triangles.T
    fine = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    return csr_matrix(np.concatenate([even, odd])), fine


def normals(points: Array, triangles: IntArray) -> Array:
    """Smooth vertex normals, (V, 3)."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    out = np.zeros_like(points)
    faces = np.cross(b - a, c - a)
    for k in range(3):
        np.add.at(out, triangles[:, k], faces)
    return unit(out)


def grid(rows: int, columns: int, around: bool = False) -> IntArray:
    """Triangles of a rows x columns lattice of vertices; `around` joins the last column to the first."""
    r, c = np.mgrid[: rows - 1, : columns if around else columns - 1]
    right = (c + 1) % columns
    a, b, d, e = r * columns + c, r * columns + right, (r + 1) * columns + c, (r + 1) * columns + right
    return np.stack([a, b, d, b, e, d], axis=-1).reshape(-1, 3).astype(np.int64)


def noise(rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]) -> Array:
    """Smooth Gaussian noise of unit variance, blurred by (horizontal, vertical) sigma."""
    field = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), sigmaX=sigma[0], sigmaY=sigma[1])
    return field / field.std()


# ----------------------------------------------------------------------------------------------------- head


class Head:
    """The skin: the face's mesh, closed to a head and subdivided, with its mimics."""

    def __init__(self, model: MorphableModel) -> None:
        self.model = model
        self.rest = self._closed(model.mean.astype(np.float64))
        coarse = oriented(np.concatenate([model.triangles, self._ring_triangles()]))
        first, middle = subdivide(coarse, len(self.rest))
        second, self.triangles = subdivide(middle, first.shape[0])
        self.refine = second @ first
        self.fine = np.asarray(self.refine @ self.rest)
        outward = (normals(self.fine, self.triangles) * (self.fine - SKULL_CENTRE)).sum()
        if outward < 0:
            self.triangles = self.triangles[:, ::-1]
        self.uv = texture_position(self.fine)
        self._solve, self._now = self._mimics()
        self._blink = self._lid_movement()
        self._brow = self._brow_movement()

    def _closed(self, face: Array) -> Array:
        """Add rings of vertices from the face's oval around the skull to its back."""
        start = face[list(OVAL)] - SKULL_CENTRE
        length, start = np.linalg.norm(start, axis=1, keepdims=True), unit(start)
        angle = np.arccos(start[:, 2:])
        side = unit(start * [1, 1, 0])
        rings = [face]
        for k in range(1, RINGS + 1):
            t = k / RINGS
            turned = angle * (1 - 0.92 * t)
            direction = np.concatenate([side[:, :2] * np.sin(turned), np.cos(turned)], axis=1)
            skull = 1 / np.linalg.norm(direction / SKULL_RADII, axis=1, keepdims=True)
            rings.append(SKULL_CENTRE + direction * (skull + (length - skull) * (1 - t) ** 2))
        return np.concatenate(rings)

    def _ring_triangles(self) -> IntArray:
        lattice = grid(RINGS + 1, len(OVAL), around=True)
        vertex = np.concatenate([OVAL, mediapipe_mesh.NUM_VERTICES + np.arange(RINGS * len(OVAL))])
        return np.asarray(vertex[lattice], np.int64)

    def _mimics(self) -> tuple[Array, Array]:
        """The least expression that changes given measures of the face, and their values on the mean face."""

        def measures(v: Array) -> Array:
            gaps = [v[b, 1] - v[a, 1] for a, b in mediapipe_mesh.INNER_LIP_PAIRS[:5:2]]
            lips = [v[17, 1] - v[14, 1], v[13, 1] - v[0, 1], v[17, 2] - v[14, 2]]
            corner = (v[61, 1] + v[291, 1]) / 2
            still = [v[33, 1] + v[263, 1], v[145, 1] - v[159, 1], v[374, 1] - v[386, 1], v[0, 2], v[10, 1]]
            return np.array([*gaps, v[291, 0] - v[61, 0], corner, v[152, 1], *lips, *still])

        basis = self.model.expression.astype(np.float64)
        effects = np.stack([measures(basis[..., k]) for k in range(basis.shape[2])], axis=1)
        ridge = effects.T @ np.linalg.inv(effects @ effects.T + 1e-5 * np.eye(len(effects)))
        return ridge, measures(self.model.mean.astype(np.float64))

    def _lid_movement(self) -> Array:
        """Displacement of every vertex when the eyes close."""
        move = np.zeros_like(self.model.mean, dtype=np.float64)
        for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
            high, low = self.model.mean[list(upper)], self.model.mean[list(lower)]
            near = np.exp(-(((self.model.mean[:, None, :2] - high[:, :2]) / 0.055) ** 2).sum(-1))
            reach = np.exp(-((np.maximum(high[:, 1].min() - self.model.mean[:, 1], 0) / 0.06) ** 2))
            mean_move = (near @ (0.92 * (low - high))) / (near.sum(axis=1, keepdims=True) + 1e-3)
            above = self.model.mean[:, 1] < np.interp(self.model.mean[:, 0], *sorted_by_x(0.5 * (high + low)))
            move += mean_move * (reach * above * near.max(axis=1) ** 0.5)[:, None]
            move[list(upper)] = 0.92 * (low - high)
            move[list(lower)] = -0.08 * (low - high)
        return move

    def _brow_movement(self) -> Array:
        brows = self.model.mean[list(mediapipe_mesh.BROWS)]
        far = np.linalg.norm(self.model.mean[:, None] - brows, axis=-1).min(axis=1)
        return np.exp(-((far / 0.12) ** 2))[:, None] * np.array([0.0, -1.0, 0.0])

    def vertices(self, pose: Pose) -> Array:
        """The subdivided skin in head space, for one pose."""
        wanted = self._now.copy()
        wanted[:3] = pose.opening * np.array([1.1, 0.95, 0.75]) + 0.002
        wanted[3:6] += [pose.width, -0.018 + 0.1 * pose.opening, 0.5 * pose.opening]
        wanted[6:8] -= [0.12 * pose.opening, 0.08 * pose.opening]
        beta = self._solve @ (wanted - self._now)
        move = self.model.lower[:, None] * (self.model.expression @ beta)
        move = move + pose.blink * self._blink + pose.brows * self._brow
        face = self.model.mean + move
        part_lips(face, pose.opening)
        out = self.rest.copy()
        out[: mediapipe_mesh.NUM_VERTICES] = face
        fade = np.linspace(1, 0, RINGS + 1)[1:] ** 2
        out[mediapipe_mesh.NUM_VERTICES :] += (fade[:, None, None] * move[list(OVAL)]).reshape(-1, 3)
        return np.asarray(self.refine @ out)


def sorted_by_x(points: Array) -> tuple[Array, Array]:
    """The x and y of points in rising order of x."""
    order = np.argsort(points[:, 0])
    return points[order, 0], points[order, 1]


def part_lips(face: Array, opening: float) -> None:
    """Let no lip reach through the other, and let them touch all along where the mouth is closed."""
    closed = float(np.clip(1 - opening / 0.02, 0, 1))
    for upper, lower in zip(mediapipe_mesh.UPPER_LIP_INNER[1:-1], mediapipe_mesh.LOWER_LIP_INNER[1:-1], strict=True):
        middle = (face[upper] + face[lower]) / 2
        weight = 1.0 if face[upper, 1] > face[lower, 1] else closed
        face[upper] += weight * (middle - face[upper])
        face[lower] += weight * (middle - face[lower])


def texture_position(points: Array) -> Array:
    """Cylindrical position of head points in the skin's texture, in pixels (V, 2)."""
    around = np.arctan2(points[:, 0], SKULL_CENTRE[2] + 0.05 - points[:, 2])
    x = TEXTURE[0] * (0.5 + around / 5.6)
    return np.stack([x, TEXTURE[1] * (points[:, 1] + 1.2) / 2.7], axis=1)


# ------------------------------------------------------------------------------------------------- textures


def paint_skin(head: Head, rng: np.random.Generator) -> tuple[Array, Array]:
    """The skin's colour (H, W, 3), linear light, and gloss (H, W)."""
    shape = TEXTURE[::-1]
    uv = head.uv

    def spot(vertices: tuple[int, ...], x: float, y: float) -> Array:
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        centres = uv[list(vertices)]
        return np.max([np.exp(-(((columns - u) / x) ** 2) - ((rows - v) / y) ** 2) for u, v in centres], axis=0)

    def polygon(vertices: tuple[int, ...], soft: float) -> Array:
        mask = np.zeros(shape, np.float32)
        cv2.fillPoly(mask, [np.round(uv[list(vertices)] * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(mask, (0, 0), soft)

    mottle = (
        0.035 * noise(rng, shape, (28, 28)) + 0.022 * noise(rng, shape, (5, 5)) + 0.02 * noise(rng, shape, (1.3, 1.3))
    )
    colour = SKIN * (1 + mottle)[..., None]
    flush = 0.55 * spot((50, 280), 75, 55) + 0.35 * spot((4,), 60, 40) + 0.2 * spot((152, 9), 90, 40)
    flush += 0.22 * spot((159, 386), 80, 24)
    colour *= 1 - flush[..., None] * np.array([0.06, 0.34, 0.34])
    colour *= 1 - 0.22 * spot((145, 374), 60, 18)[..., None] * np.array([0.7, 1.0, 0.8])
    stubble = spot((152, 176, 400, 136, 365, 2), 110, 70) * (1 + 0.5 * noise(rng, shape, (1.2, 1.2)))
    colour *= 1 - 0.10 * stubble[..., None] * np.array([1.0, 0.75, 0.55])
    freckles(colour, uv, rng)
    lips = polygon((*mediapipe_mesh.UPPER_LIP_OUTER, *mediapipe_mesh.LOWER_LIP_OUTER[-2:0:-1]), 3.0)
    wrinkles = 1 + 0.05 * noise(rng, shape, (1.6, 14))
    colour += lips[..., None] * 0.85 * (LIPS * wrinkles[..., None] - colour)
    gloss = 0.30 + 0.25 * spot((4, 9, 151), 45, 60) + 0.35 * lips + 0.06 * noise(rng, shape, (1.5, 1.5))
    colour *= 1 - 0.9 * nostrils(uv, shape)[..., None]
    for lids in (*UPPER_LIDS, *LOWER_LIDS):
        dark_line(colour, uv[list(lids)], *((11, 0.9) if lids in UPPER_LIDS else (4, 0.45)))
    for crease in CREASES:
        dark_line(colour, uv[list(crease)], 3, 0.4)
    paint_brows(colour, uv, rng)
    paint_scalp(colour, head, rng)
    return colour.astype(np.float32), np.clip(gloss, 0, 1).astype(np.float32)


def nostrils(uv: Array, shape: tuple[int, int]) -> Array:
    """Mask of the two nostrils, which the mesh does not have."""
    mask = np.zeros(shape, np.float32)
    for vertex, tilt in ((79, 20), (309, -20)):
        centre = tuple(int(c) for c in np.round(uv[vertex] * 16))
        cv2.ellipse(mask, centre, (13 * 16, 6 * 16), tilt, 0, 360, 1.0, -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), 2.5)


def dark_line(colour: Array, line: Array, width: int, strength: float) -> None:
    """Darken a colour texture along a line."""
    mask = np.zeros(colour.shape[:2], np.float32)
    cv2.polylines(mask, [np.round(line * 16).astype(np.int32)], False, 1.0, width, cv2.LINE_AA, 4)
    colour *= 1 - strength * cv2.GaussianBlur(mask, (0, 0), 1.5)[..., None]


def freckles(colour: Array, uv: Array, rng: np.random.Generator) -> None:
    """Scatter freckles over the nose and the cheeks."""
    mask = np.zeros(colour.shape[:2], np.float32)
    for centre in uv[[5, 50, 280, 101, 330, 118, 347]]:
        for _ in range(14):
            x, y = np.round((centre + rng.normal(0, 1, 2) * (34, 20)) * 16).astype(int)
            radius = int(rng.uniform(1.0, 2.4) * 16)
            cv2.circle(mask, (int(x), int(y)), radius, rng.uniform(0.25, 0.8), -1, cv2.LINE_AA, 4)
    colour *= 1 - 0.30 * cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None] * np.array([0.6, 1.0, 1.0])


def paint_brows(colour: Array, uv: Array, rng: np.random.Generator) -> None:
    """Draw the eyebrows hair by hair between the mesh's two lines of vertices."""
    mask = np.zeros(colour.shape[:2], np.float32)
    for low, high in BROW_LINES:
        bottom, top = (
            np.stack([np.interp(np.linspace(0, 4, 90), range(5), uv[list(r)].T[k]) for k in (0, 1)], 1)
            for r in (low, high)
        )
        outward = np.sign(bottom[0, 0] - bottom[-1, 0])
        for _ in range(620):
            along = rng.beta(1.5, 1.3)
            number = int(along * 89)
            across = np.clip(rng.normal(0.45, 0.19 * (0.55 + 0.6 * along)), 0, 1)
            root = bottom[number] + across * (top[number] - bottom[number])
            lean = np.array([outward * (0.45 + 0.8 * (1 - along)), 0.5 - 1.6 * along + 0.8 * (0.5 - across)])
            tip = root + rng.uniform(9, 18) * unit(lean + rng.normal(0, 0.12, 2))
            ends = [tuple(int(c) for c in np.round(p * 16)) for p in (root, tip)]
            cv2.line(mask, ends[0], ends[1], rng.uniform(0.5, 1.0), 2, cv2.LINE_AA, 4)
    mask = 0.75 * cv2.GaussianBlur(mask, (0, 0), 0.8) + 0.35 * cv2.GaussianBlur(mask, (0, 0), 6)
    colour += np.clip(mask, 0, 0.92)[..., None] * (0.9 * HAIR - colour)


def paint_scalp(colour: Array, head: Head, rng: np.random.Generator) -> None:
    """Darken the skin under the hair."""
    amount = np.clip(scalp_depth(head.fine) / 0.10 + 0.2, 0, 1)[:, None]
    points = np.concatenate([head.uv, np.zeros((len(head.uv), 1))], axis=1)
    square = rasterizer.render(points, head.triangles, amount, TEXTURE[0])[: TEXTURE[1], :, 0]
    colour += cv2.GaussianBlur(square, (0, 0), 4)[..., None] * (0.6 * HAIR - colour)


# ----------------------------------------------------------------------------------------------------- hair


def scalp_depth(points: Array) -> Array:
    """Return the depth of points of the head inside the border of the hair, in units (negative: outside)."""
    z = [-0.35, -0.12, 0.08, 0.30, 0.44, 0.52, 0.62, 0.78, 0.90, 1.3]
    y = [-0.66, -0.60, -0.52, -0.34, -0.10, 0.16, 0.20, -0.06, 0.25, 0.60]
    return PchipInterpolator(z, y)(np.clip(points[..., 2], -0.35, 1.3)) - points[..., 1]


class Hair:
    """Some thousand strands, each a ribbon that faces the camera."""

    STRANDS, POINTS, WIDTH = 11000, 8, 0.0085

    def __init__(self, head: Head, rng: np.random.Generator) -> None:
        roots, outward = self._roots(head, rng)
        self.line = self._grown(roots, outward, rng)
        self.normal = np.repeat(outward[:, None], self.POINTS, axis=1)
        shades = np.exp(rng.normal(0, 0.30, (self.STRANDS, 1, 1)))
        along = np.linspace(0.65, 1.25, self.POINTS)[None, :, None]
        self.colour = HAIR * shades * along * (1 + rng.normal(0, 0.05, (self.STRANDS, 1, 3)))
        one = grid(self.POINTS, 2)
        self.triangles = (one + 2 * self.POINTS * np.arange(self.STRANDS)[:, None, None]).reshape(-1, 3)

    def _roots(self, head: Head, rng: np.random.Generator) -> tuple[Array, Array]:
        """Random places of the scalp and the skin's normals there."""
        corners = head.fine[head.triangles]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        inside = scalp_depth(corners.mean(axis=1)) > rng.normal(0.0, 0.025, len(corners))
        weight = area * inside * (corners[:, :, 2].mean(axis=1) < 1.25)
        chosen = rng.choice(len(area), self.STRANDS, p=weight / weight.sum())
        mix = rng.dirichlet(np.ones(3), self.STRANDS)[..., None]
        skin = normals(head.fine, head.triangles)[head.triangles[chosen]]
        return (corners[chosen] * mix).sum(axis=1), unit((skin * mix).sum(axis=1))

    def _grown(self, roots: Array, outward: Array, rng: np.random.Generator) -> Array:
        """Follow the comb's direction from the roots, lifted off the skull: (S, P, 3)."""
        top = np.clip(-outward[:, 1:2] * 1.6 + 0.15, 0, 1)
        front = np.clip((0.25 - roots[:, 2:]) / 0.5, 0, 1)
        part = np.tanh((roots[:, :1] + 0.33) / 0.12)
        over = np.concatenate([part * 0.9, -0.25 - 0.25 * front, 0.55 - 0.75 * front * (part > 0)], axis=1)
        down = np.concatenate([0.1 * np.sign(roots[:, :1]), np.full_like(top, 0.85), 0.45 + 0 * top], axis=1)
        comb = unit(top * over + (1 - top) * down + rng.normal(0, 0.11, roots.shape))
        clump = np.sin(roots @ rng.normal(0, 9, (3, 4)) + rng.uniform(0, 6, 4)).sum(axis=1, keepdims=True)
        length = (0.11 + 0.33 * top) * rng.uniform(0.7, 1.1, (len(roots), 1)) * (1 + 0.06 * clump)
        lift = 0.22 + 0.75 * top * (0.4 + 0.6 * front)
        line, here, step = [roots], roots, length / (self.POINTS - 1)
        for k in range(1, self.POINTS):
            t = k / (self.POINTS - 1)
            away = unit((here - SKULL_CENTRE) / SKULL_RADII**2)
            along = comb + np.array([0, 0.45, 0.1]) * t * t + 0.12 * clump * np.cross(comb, outward)
            along = unit(along - away * (along * away).sum(axis=1, keepdims=True))
            here = here + step * unit(along + away * lift * (1 - 1.35 * t))
            line.append(here)
        return np.stack(line, axis=1)

    def ribbons(self, turn: Array) -> tuple[Array, Array]:
        """Vertices (view space) and attributes (normal, colour) of all ribbons for one rotation of the head."""
        line = about_neck(self.line, turn)
        along = np.gradient(line, axis=1)
        side = unit(np.stack([-along[..., 1], along[..., 0], 0 * along[..., 0]], axis=-1))
        taper = self.WIDTH * np.linspace(1, 0.35, self.POINTS)[None, :, None]
        points = np.stack([line - side * taper / 2, line + side * taper / 2], axis=2).reshape(-1, 3)
        normal = self.normal @ turn.T
        normal = unit(normal - 0.5 * unit(along) * (normal * unit(along)).sum(-1, keepdims=True))
        per_point = np.concatenate([normal, self.colour], axis=2)
        return points, np.repeat(per_point, 2, axis=1).reshape(-1, 6)


# ---------------------------------------------------------------------------------------------- other parts


def torso() -> tuple[Array, IntArray, Array]:
    """Neck and shoulders: vertices, triangles, and how far each vertex lies below the collar (V, 1)."""
    y = np.linspace(0.55, 2.7, 90)
    width = PchipInterpolator([0.5, 1.2, 1.5, 1.72, 1.9, 2.1, 2.7], [0.53, 0.51, 0.54, 0.72, 1.20, 1.85, 2.2])(y)
    depth = PchipInterpolator([0.5, 1.2, 1.6, 2.0, 2.7], [0.50, 0.50, 0.56, 0.78, 0.9])(y)
    angle = np.linspace(0, 2 * np.pi, 160, endpoint=False)[None]
    x = width[:, None] * np.sin(angle)
    z = 0.82 - depth[:, None] * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.9
    points = np.stack([x, np.repeat(y[:, None], 160, 1), z], axis=-1)
    drop = points[..., 1] - (1.60 + 0.17 * np.cos(angle))
    return points.reshape(-1, 3), grid(90, 160, around=True)[:, ::-1], drop.reshape(-1, 1)


def shirt_colour(below: Array, weave: Array) -> tuple[Array, Array]:
    """Colour and gloss of neck and shirt by the distance below the collar's edge."""
    cloth = np.clip(below / 0.008 + 0.5, 0, 1)
    band = 1 + 0.3 * np.clip((0.085 - below) / 0.01, 0, 1) - 0.45 * np.exp(-(((below - 0.085) / 0.010) ** 2))
    fabric = SHIRT * (band * (1 + 0.04 * weave))[..., None]
    contact = 1 - 0.35 * np.exp(-((below / 0.04) ** 2))
    skin = SKIN * 0.92 * (contact * (1 + 0.015 * weave))[..., None]
    return skin + cloth[..., None] * (fabric - skin), 0.22 * (1 - cloth)


def ear(side: int) -> tuple[Array, IntArray, Array]:
    """One ear, a shell with a rim: vertices in head space, triangles and colours."""
    rho, angle = np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 2 * np.pi, 60, endpoint=False), indexing="ij")
    lobe = 1 - 0.22 * np.clip(np.sin(angle), 0, 1) ** 2
    fold = np.exp(-(((rho - 0.55) / 0.10) ** 2)) * np.clip(np.cos(angle) + 0.3, 0, 1)
    bulge = 0.075 * np.exp(-(((rho - 0.84) / 0.11) ** 2)) + 0.05 * fold - 0.05 * np.exp(-((rho / 0.42) ** 2))
    bulge -= 0.16 * np.clip((rho - 0.9) / 0.1, 0, 1) ** 2
    along = 0.150 * rho * lobe * np.cos(angle)
    local = np.stack([bulge + 0.5 * along, 0.265 * rho * np.sin(angle) - 0.12 * along, along], axis=-1)
    points = local.reshape(-1, 3) * [side, 1, 1] + [side * 0.82, 0.20, 0.82]
    shade = 1 - 0.45 * np.exp(-((rho / 0.40) ** 2)) - 0.22 * np.exp(-(((rho - 0.70) / 0.06) ** 2))
    colour = shade[..., None] * SKIN * [1.0, 0.82, 0.80]
    triangles = grid(30, 60, around=True)
    return points, triangles[:, ::-1] if side > 0 else triangles, colour.reshape(-1, 3)


def teeth(upper: bool) -> tuple[Array, IntArray, Array]:
    """A row of teeth: vertices, triangles, and (position along the row, height from the gum) per vertex."""
    along, height = np.meshgrid(np.linspace(-1, 1, 81), np.linspace(0, 1, 9), indexing="ij")
    reach = 0.25 if upper else 0.22
    edge, root = (0.866, 0.70) if upper else (0.825, 1.00)
    z = -0.095 + (0.0 if upper else 0.025) + 0.26 * along**2 + 0.02 * height
    points = np.stack([reach * along, root + (edge - root) * height, z], axis=-1).reshape(-1, 3)
    return points, grid(81, 9), np.stack([along, height], axis=-1).reshape(-1, 2)


def tongue() -> tuple[Array, IntArray]:
    """The tongue, the upper half of an ellipsoid."""
    a, b = np.meshgrid(np.linspace(0.02, np.pi / 2, 12), np.linspace(0, 2 * np.pi, 40, endpoint=False), indexing="ij")
    ball = np.stack([np.sin(a) * np.cos(b), -np.cos(a), np.sin(a) * np.sin(b)], axis=-1).reshape(-1, 3)
    return ball * [0.19, 0.09, 0.24] + [0, 0.915, 0.18], grid(12, 40, around=True)


def about_neck(points: Array, turn: Array) -> Array:
    """Rotate head points about the neck."""
    return (points - NECK_PIVOT) @ turn.T + NECK_PIVOT
