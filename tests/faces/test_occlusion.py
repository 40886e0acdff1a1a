"""Things in front of the mouth: found where they are, nowhere else, and kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.occluders import Layer, cup, hand, held, microphone
from helpers.sample_clips import decoded, write_sound, write_video
from helpers.synthetic import pose_of

import personatalk
from personatalk import Models
from personatalk.faces.landmarks import open_tracker
from personatalk.faces.occlusion import MAX_LIPS_HIDDEN, ProbePoints, find_occlusions, visibility
from personatalk.geometry.camera import apply_transform, crop_transform, project, warp
from personatalk.geometry.fitting import Estimate, Initialiser
from personatalk.geometry.masks import face_region
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.reader import VideoReader
from personatalk.pipeline.persona_making import make_persona
from personatalk.sample import sample_files
from personatalk.utils.arrays import Array, Image

FRAMES = 50
SIDE = 256
"""Height that the sample is made smaller to."""


@dataclass(frozen=True)
class Seen:
    """Frames of the sample with something in front, and what is found."""

    frames: list[Image]
    layers: list[Layer]
    estimates: list[Estimate]
    occlusions: np.ndarray


@pytest.fixture(scope="module")
def frames() -> list[Image]:
    with VideoReader(sample_files()[0]) as reader:
        return [cv2.resize(f.rgb(), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in reader.frames(0, FRAMES)]


@pytest.fixture(scope="module")
def places(model: MorphableModel) -> ProbePoints:
    return ProbePoints.of(model)


@pytest.fixture(scope="module")
def bare(model: MorphableModel, places: ProbePoints, frames: list[Image]) -> Seen:
    return seen(model, places, frames, nothing(frames))


def seen(model: MorphableModel, places: ProbePoints, frames: list[Image], layers: list[Layer]) -> Seen:
    """Return what the first pass sees of frames behind layers."""
    tracker, initialise = open_tracker(), Initialiser(model)
    pictures = [held(frame, layer) for frame, layer in zip(frames, layers, strict=True)]
    estimates = [initialise(tracker.detect(picture)[0]) for picture in pictures]
    tracker.close()
    pairs = zip(pictures, estimates, strict=True)
    samples = np.stack([places.sample(rgb, e.alpha, e.beta, e.pose) for rgb, e in pairs])
    return Seen(pictures, layers, estimates, find_occlusions(places, samples))


def passing(kind: str, model: MorphableModel, bare: Seen, end: tuple[float, float] = (0.25, 0.2)) -> list[Layer]:
    """A thing that comes in, is held before the mouth, and leaves again."""
    layers = []
    skin = bare.frames[0][tuple(project(model.mean[[50, 280]], bare.estimates[0].pose)[:, 1::-1].astype(int).T)].mean(0)
    start = {"microphone": (0.9, 1.6), "cup": (0.3, 1.9), "hand": (1.6, 1.2)}[kind]
    for i, estimate in enumerate(bare.estimates):
        way = float(np.interp(i / FRAMES, [0.3, 0.42, 0.58, 0.7], [0, 1, 1, 0]))
        mouth = project(model.mean[model.mouth_corners], estimate.pose).mean(axis=0)[:2]
        unit = float(np.exp(estimate.pose[3]))
        x, y = mouth + unit * (np.array(start) * (1 - way) + np.array(end) * way)
        if kind == "hand":
            layers.append(hand(SIDE, SIDE, x, y, unit, skin * (0.9, 0.72, 0.66)))
        else:
            layers.append({"microphone": microphone, "cup": cup}[kind](SIDE, SIDE, x, y, unit))
    return layers


def kept_and_lost(model: MorphableModel, places: ProbePoints, got: Seen) -> tuple[float, float]:
    """Share of the things' pixels in the generated region that stay, and share of the others that are flagged."""
    kept = things = flagged = others = 0.0
    for rgb, (_, opacity), e, cover in zip(got.frames, got.layers, got.estimates, got.occlusions, strict=True):
        transform = crop_transform(e.pose)
        corners = apply_transform(transform, project(model.vertices(e.alpha, e.beta), e.pose))
        region = face_region(model, [corners], 256) > 0.5
        truth = warp(np.repeat((255 * opacity[..., None]).astype(np.uint8), 3, axis=2), transform)[..., 0]
        points = apply_transform(transform, places.at(e.alpha, e.beta, e.pose))
        hidden = 1 - visibility(cover, points, warp(rgb, transform))
        if places.lips_hidden(cover[None])[0] > MAX_LIPS_HIDDEN:
            hidden = np.ones_like(hidden)
        else:
            # A sharp mask is not asked for: beside means a little away from the edge.
            beside = region & (cv2.dilate(truth, np.ones((17, 17), np.uint8)) < 25)
            flagged, others = flagged + hidden[beside].sum(), others + beside.sum()
        kept, things = kept + hidden[region & (truth > 127)].sum(), things + (region & (truth > 127)).sum()
    assert things > 1000, "nothing was in front of the generated region: the test is void"
    return kept / things, flagged / others


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("microphone", 0.9), ("cup", 0.9), ("hand", 0.8)])
def test_things_are_found_where_they_are(
    kind: str, least: float, model: MorphableModel, places: ProbePoints, bare: Seen
) -> None:
    kept, flagged = kept_and_lost(model, places, seen(model, places, bare.frames, passing(kind, model, bare)))
    assert kept > least
    assert flagged < 0.03


@pytest.mark.slow
def test_a_lock_of_hair_stays_in_front(model: MorphableModel, places: ProbePoints, bare: Seen) -> None:
    layers = []
    for i, e in enumerate(bare.estimates):
        unit, mouth = float(np.exp(e.pose[3])), project(model.mean[model.mouth_corners], e.pose).mean(axis=0)
        x = mouth[0] + unit * np.interp(i / FRAMES, [0.3, 0.45, 0.55, 0.7], [1.5, 0.25, 0.25, 1.5])
        strip = np.zeros((SIDE, SIDE), np.uint8)
        ends = [(round(x + 0.2 * unit), 0), (round(x), SIDE)]
        cv2.line(strip, ends[0], ends[1], 255, round(0.2 * unit), cv2.LINE_AA)
        fibres = 12 * np.sin(np.arange(SIDE) * 1.7)[None, :, None]
        layers.append(
            ((np.array([46.0, 30, 22]) + np.zeros((SIDE, 1, 1)) + fibres).astype(np.float32), strip / np.float32(255))
        )
    kept, flagged = kept_and_lost(model, places, seen(model, places, bare.frames, layers))
    assert kept > 0.8
    assert flagged < 0.04


@pytest.mark.slow
def test_a_bare_face_is_not_flagged(bare: Seen) -> None:
    assert not bare.occlusions.any()


def shaded(frames: list[Image], i: int) -> Image:
    """Light that changes in strength, colour and direction."""
    swing = np.sin(i / 7)
    across = np.linspace(1 - 0.2 * swing, 1 + 0.2 * swing, SIDE)[None, :, None]
    colour = np.array([1 + 0.1 * swing, 1, 1 - 0.12 * swing]) * (0.8 + 0.2 * np.cos(i / 5))
    return np.clip(frames[i] * across * colour, 0, 255).astype(np.uint8)


def smeared(frames: list[Image], i: int) -> Image:
    """Motion blur every now and then."""
    return cv2.blur(frames[i], (1 + 12 * (i % 20 > 15), 1)).astype(np.uint8)


def in_shadow(frames: list[Image], i: int) -> Image:
    """A soft shadow that wanders over the face."""
    x = np.linspace(-1, 2, FRAMES)[i] * SIDE
    shadow = 1 - 0.4 / (1 + np.exp(-(np.arange(SIDE) - x) / 12))
    return np.clip(frames[i] * shadow[None, :, None], 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("change", [shaded, smeared, in_shadow])
def test_light_shadow_and_blur_are_nothing_in_front(
    change: object, model: MorphableModel, places: ProbePoints, bare: Seen
) -> None:
    assert callable(change)
    changed = [change(bare.frames, i) for i in range(FRAMES)]
    assert np.abs(changed[17].astype(int) - bare.frames[17]).mean() > 1, "the change must show"
    got = seen(model, places, changed, nothing(changed))
    assert (got.occlusions > 127).any(axis=1).mean() < 0.03


def nothing(frames: list[Image]) -> list[Layer]:
    return [(frame.astype(np.float32), np.zeros(frame.shape[:2], np.float32)) for frame in frames]


@pytest.mark.slow
def test_what_is_found_does_not_flicker(model: MorphableModel, places: ProbePoints, bare: Seen) -> None:
    occlusions = seen(model, places, bare.frames, passing("cup", model, bare)).occlusions.astype(int)
    held_still = occlusions[int(0.45 * FRAMES) : int(0.55 * FRAMES)]
    assert held_still.any()
    assert np.abs(np.diff(held_still, axis=0)).mean() < 10
    assert np.abs(np.diff(occlusions, axis=0)).max() <= 86, "edges in time are soft"


def test_a_long_shot_is_processed_in_parts(places: ProbePoints) -> None:
    samples = np.random.default_rng(0).integers(90, 110, (40, len(places.mean), 4)).astype(np.uint8)
    samples[..., 3] = 255
    samples[18:25, :, :3] = np.where(places.mean[None, :, :1] > 0, 10, samples[18:25, :, :3])
    whole = find_occlusions(places, samples)
    assert whole.any()
    np.testing.assert_array_equal(find_occlusions(places, samples, span=7), whole)


def test_too_few_frames_tell_nothing(places: ProbePoints) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (5, len(places.mean), 4)).astype(np.uint8)
    assert not find_occlusions(places, samples).any()


def test_unseen_places_decide_nothing(places: ProbePoints) -> None:
    samples = np.full((40, len(places.mean), 4), 128, np.uint8)
    samples[..., 3] = 255
    strange = samples.copy()
    strange[18:25, :, :3] = np.where(places.mean[None, :, :1] > 0, 10, 128)
    assert find_occlusions(places, strange)[21].any()
    strange[18:25, places.mean[:, 0] > 0, 3] = 0
    assert not find_occlusions(places, strange).any()


def test_visible_is_one_without_things_and_follows_them(places: ProbePoints, model: MorphableModel) -> None:
    pose: Array = pose_of()
    still = np.zeros(model.num_identity, np.float32), np.zeros(model.num_expression, np.float32)
    points = apply_transform(crop_transform(pose), places.at(*still, pose))
    left = points[:, 0] < 127
    crop = np.full((256, 256, 3), 180, np.uint8)
    crop[:, :127] = 30
    assert visibility(np.zeros(len(points), np.uint8), points, crop).min() == 1
    mask = visibility((255 * left).astype(np.uint8), points, crop)
    assert mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1
    middle = mask[140:200]
    assert middle[:, 70:120].max() < 0.1 and middle[:, 135:190].min() > 0.9


@pytest.mark.slow
def test_things_survive_a_dub(tmp_path: Path, model: MorphableModel, bare: Seen) -> None:
    layers = passing("cup", model, bare, (0.05, 0.28))
    pictures = [held(frame, layer) for frame, layer in zip(bare.frames, layers, strict=True)]
    source = write_video(tmp_path / "in.mp4", pictures)
    speech = write_sound(tmp_path / "speech.wav", read_speech(sample_files()[1])[: 16000 * FRAMES // 25])
    options = personatalk.DubOptions(encode=EncodeOptions(crf=4, preset="ultrafast"))
    models = Models.load()
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=models, options=options)
    (span,) = report.passed_through
    assert span.reason == "mouth covered"
    assert 0.3 * FRAMES < span.first < 0.5 * FRAMES < span.last < 0.7 * FRAMES
    assert not any(span.first <= i <= span.last for i in report.lip_references)
    old, new = decoded(source), decoded(tmp_path / "out.mp4")
    change = [np.abs(a.astype(int) - b) for a, b in zip(old, new, strict=True)]
    inside = np.concatenate([c[opacity > 0.9] for c, (_, opacity) in zip(change, layers, strict=True)])
    assert inside.mean() < 1.5
    assert np.quantile(inside, 0.98) < 12
    # Elsewhere the mouth is new.
    assert max(c.max() for c in change[:12]) > 30
    make_persona([source], models, folder=tmp_path).save(tmp_path / "anna.persona")
    options = replace(options, persona=tmp_path / "anna.persona")
    personatalk.dub(source, speech, tmp_path / "kept.mp4", models=models, options=options)
    np.testing.assert_array_equal(np.stack(decoded(tmp_path / "kept.mp4")), np.stack(new))
