"""Made-up people: boxes and embeddings without a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.sample_clips import write_video
from personatalk.faces.people import People, Person
from personatalk.media.probe import probe_video
from personatalk.utils.arrays import Array, Image

WIDTH, HEIGHT = 640, 360


@dataclass
class FixedRecogniser:
    """A recogniser that gives the same embedding for every face."""

    embedding: Array
    threshold: float = 1.0

    def embed(self, image: Image, landmarks: Array) -> Array:
        return self.embedding


def box_at(x: float, y: float = 180, size: float = 60) -> Array:
    """A square box around a point."""
    return np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], np.float32)


def made_up(folder: Path, tracks: list[list[Array | None]], recogniser: Any = None) -> People:
    """People with the given boxes in each frame, None where away; each embedding is a unit vector of its own."""
    frames = len(tracks[0])
    info = probe_video(write_video(folder / "made-up.mp4", [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2))
    away = np.full(4, np.nan, np.float32)
    boxes = np.array([[away if box is None else box for box in track] for track in tracks], np.float32)
    embeddings = np.eye(len(tracks), dtype=np.float32)
    persons = [
        Person(i + 1, sum(box is not None for box in track), embeddings[i], []) for i, track in enumerate(tracks)
    ]
    recogniser = recogniser or FixedRecogniser(embeddings[0])
    return People(info, np.arange(frames) / 25, np.zeros(frames, np.int64), persons, boxes, recogniser)
