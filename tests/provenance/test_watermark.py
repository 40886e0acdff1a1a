"""The watermark: too faint to see, found after encoding, cutting and shrinking, and not found where it is not."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from helpers.sample_clips import write_video

from personatalk.faces.analysis import Analysis, analyse
from personatalk.faces.landmarks import open_tracker
from personatalk.geometry.camera import apply_transform, crop_transform, project, warp
from personatalk.geometry.masks import face_region
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.reader import VideoReader
from personatalk.provenance import watermark
from personatalk.provenance.verify import find_watermark
from personatalk.provenance.watermark import WatermarkDetector, WatermarkResult, embed_watermark
from personatalk.sample import sample_files
from personatalk.stage2.compositing import to_image

# A little more than three seconds.
FRAMES = 76


def crops(count: int, seed: int = 0, noise: float = 3.0) -> list[np.ndarray]:
    """A face that stands still, as far as a detector can tell: texture that stays, and noise that does not."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(0, 300, (256, 256)), (0, 0), 4) + 128
    noisy = (texture + cv2.resize(rng.normal(0, noise, (128, 128)), (256, 256)) for _ in range(count))
    return [np.clip(np.repeat(n[..., None], 3, axis=2), 0, 255).astype(np.uint8) for n in noisy]


def detect(images: list[np.ndarray], first: float = 0.0, key: int = watermark.WATERMARK_KEY) -> WatermarkResult:
    detector = WatermarkDetector(key)
    for number, image in enumerate(images):
        detector.add(first + number / 25, image)
    return detector.result()


def marked(images: list[np.ndarray], first: float = 0.0) -> list[np.ndarray]:
    return [embed_watermark(image, first + number / 25) for number, image in enumerate(images)]


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    with VideoReader(sample_files()[0]) as reader:
        return [frame.rgb() for frame in reader.frames(0, FRAMES)]


@pytest.fixture(scope="module")
def analysis(model: MorphableModel) -> Analysis:
    tracker = open_tracker()
    with VideoReader(sample_files()[0]) as reader:
        found = analyse(reader, tracker, model)
    tracker.close()
    return found


@pytest.fixture(scope="module")
def faces(frames: list[np.ndarray], analysis: Analysis) -> list[np.ndarray]:
    return [warp(rgb, crop_transform(analysis.pose[i])) for i, rgb in enumerate(frames)]


@pytest.fixture(scope="module")
def marked_video(
    tmp_path_factory: pytest.TempPathFactory,
    model: MorphableModel,
    frames: list[np.ndarray],
    faces: list[np.ndarray],
    analysis: Analysis,
) -> Path:
    """The sample with its own face, marked as a dub marks its face."""
    out = []
    for number, (rgb, face) in enumerate(zip(frames, faces, strict=True)):
        pose = analysis.pose[number]
        transform = crop_transform(pose)
        vertices = apply_transform(transform, project(analysis.vertices(model, number), pose))
        patch = to_image(embed_watermark(face, number / 25), face_region(model, [vertices], 256), transform, 512, 512)
        assert patch is not None
        rgb, (height, width) = rgb.copy(), patch.mask.shape
        place = np.s_[patch.top : patch.top + height, patch.left : patch.left + width]
        share = patch.mask[..., None]
        rgb[place] = np.rint(rgb[place] * (1 - share) + patch.pixels * share).astype(np.uint8)
        out.append(rgb)
    return write_video(tmp_path_factory.mktemp("marked") / "marked.mp4", out)


def recoded(source: Path, target: Path, crf: int, shrink: int, skip: int = 0) -> Path:
    """Encode again with x264, smaller, and without the first frames."""
    with VideoReader(source) as reader, av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.width, stream.height = reader.info.width // shrink, reader.info.height // shrink
        stream.pix_fmt = "yuv420p"
        for frame in reader.frames(skip):
            image = frame.image.reformat(width=stream.width, height=stream.height, format="yuv420p")
            image.pts, image.time_base = frame.index - skip, Fraction(1, 25)
            image.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))
    return target


@pytest.mark.slow
def test_the_watermark_cannot_be_seen(faces: list[np.ndarray]) -> None:
    errors = [(embed_watermark(face, i / 25).astype(float) - face) for i, face in enumerate(faces)]
    assert 10 * np.log10(65025 / np.mean(np.square(errors))) > 42
    assert np.abs(errors).max() < 10
    # From frame to frame it changes by less than a grey level: no flicker.
    assert max(np.sqrt(np.mean((b - a) ** 2)) for a, b in pairwise(errors)) < 1


def test_the_watermark_is_the_same_in_every_run() -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    # Videos that are out there would not be recognised any more if these numbers changed.
    assert embed_watermark(grey, 1.0)[::50, 128, 0].tolist() == [126, 128, 129, 130, 129, 130]


@pytest.mark.slow
@pytest.mark.parametrize(("crf", "shrink"), [(28, 1), (23, 2)])
def test_the_watermark_survives_encoding(
    tmp_path: Path, model: MorphableModel, marked_video: Path, crf: int, shrink: int
) -> None:
    found = find_watermark(recoded(marked_video, tmp_path / "again.mp4", crf, shrink), model)
    assert found.found and found.score > 1.5 * found.threshold
    assert found.ranges == [[0.0, pytest.approx(FRAMES / 25)]]


@pytest.mark.slow
def test_a_real_face_without_the_watermark_is_not_marked(faces: list[np.ndarray]) -> None:
    assert not detect(faces).found
    assert detect(marked(faces)).found


@pytest.mark.parametrize("skipped", [1, 7, 33])
def test_the_watermark_is_found_when_the_beginning_was_cut_off(skipped: int) -> None:
    whole = marked(crops(FRAMES + skipped))
    found = detect(whole[skipped:])
    assert found.found and found.score > 2 * found.threshold


def test_only_the_marked_part_is_reported() -> None:
    images = crops(225)
    found = detect([*images[:75], *marked(images[75:150], first=3.0), *images[150:]])
    assert found.found
    assert found.ranges == [[pytest.approx(3.0), pytest.approx(6.0)]]


def test_two_marked_parts_of_other_videos_are_both_found() -> None:
    # Joined from two dubs, the phases differ, so that no single phase explains the whole.
    images = crops(150)
    found = detect([*marked(images[:75], first=1.32), *marked(images[75:], first=0.5)])
    assert found.ranges == [[0.0, pytest.approx(6.0)]]


def test_another_key_is_another_watermark() -> None:
    images = marked(crops(FRAMES))
    assert detect(images).found
    assert not detect(images, key=watermark.WATERMARK_KEY + 1).found


@pytest.mark.slow
def test_scores_without_a_watermark_are_those_of_chance() -> None:
    found = [detect(crops(FRAMES, seed)) for seed in range(12)]
    scores = np.array([f.score for f in found])
    assert not any(f.found for f in found)
    # The largest of 64 normal values, some of which are much alike, lies around 2.
    assert 1 < scores.mean() < 3


@pytest.mark.slow
def test_the_threshold_grows_with_the_length_of_the_video() -> None:
    assert watermark.threshold(64) == pytest.approx(4.7, abs=0.01)
    short, long = detect(crops(FRAMES)), detect(crops(300))
    assert short.threshold == watermark.threshold(64)
    assert long.threshold == watermark.threshold(64 * 5)


def test_too_few_frames_give_no_result() -> None:
    assert detect([]) == WatermarkResult()
    assert detect(marked(crops(5))) == WatermarkResult()
    # A image that stands quite still tells nothing, and is no reason to divide by zero.
    assert detect([np.full((256, 256, 3), 90, np.uint8)] * FRAMES) == WatermarkResult()
