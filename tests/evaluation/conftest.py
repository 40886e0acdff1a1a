"""The sample, changed in ways whose effect is known, and what is measured on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.plain_video import write_video

from personatalk.evaluation.compare import ComparisonResult, evaluate_pair
from personatalk.evaluation.pair import Comparison, MetricNetworks
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.reader import VideoReader
from personatalk.sample import sample_files
from personatalk.stage1.style_similarity import StyleSimilarityEncoder

FRAMES = 60


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    with VideoReader(sample_files()[0]) as reader:
        return [f.rgb() for f in reader.frames(0, FRAMES)]


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, frames: list[np.ndarray]) -> dict[str, Path]:
    """The sample, changed in ways whose effect is known."""
    folder = tmp_path_factory.mktemp("videos")
    noise = np.random.default_rng(0).normal(0, 8, frames[0].shape)
    made = {
        "same": frames,
        "late": [frames[0]] * 3 + frames[:-3],
        "frozen": [frames[0]] * len(frames),
        "blurred": [cv2.GaussianBlur(f, (0, 0), 3) for f in frames],
        "noisy": [np.clip(f + noise, 0, 255).astype(np.uint8) for f in frames],
        "mirrored": [f[:, ::-1] for f in frames],
        "small": [cv2.resize(f, (256, 256), interpolation=cv2.INTER_AREA) for f in frames],
        "cropped": [f[60:500, 40:480][:, :400] for f in frames],
        "half": [f[:, :200] for f in frames],
    }
    paths = {name: write_video(folder / f"{name}.mp4", images) for name, images in made.items()}
    twice = [f for f in frames for _ in range(2)]
    return {**paths, "fast": write_video(folder / "fast.mp4", twice, rate=50)}


@pytest.fixture(scope="session")
def found(videos: dict[str, Path], model: MorphableModel) -> dict[str, ComparisonResult]:
    networks = MetricNetworks(style=StyleSimilarityEncoder.load())
    return {n: evaluate_pair(Comparison(n, videos["same"], path), networks, model) for n, path in videos.items()}
