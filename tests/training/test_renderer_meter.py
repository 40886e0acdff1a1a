"""The renderer measured alone: what is seen of a mouth against what was asked."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.datasets import dataset, made_up
from helpers.tiny import tiny_models

from personatalk.cli.main import main
from personatalk.faces.landmarks import open_tracker
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.reader import VideoReader
from personatalk.sample import sample_files
from personatalk.training.data.shards import read_dataset
from personatalk.training.obedience import MouthReader, Obedience
from personatalk.training.renderer_meter import RendererMeter, summary


def test_obedience_is_the_line_through_asked_and_seen() -> None:
    asked = [0.0, 0.1, 0.2, 0.4]
    line = Obedience.of(asked, [0.02 + 0.8 * x for x in asked])
    assert (line.slope, line.correlation, line.count) == pytest.approx((0.8, 1.0, 4))
    assert line.error == pytest.approx(np.mean([abs(0.02 - 0.2 * x) for x in asked]))
    assert np.isnan(Obedience.of([0.1, 0.1, 0.1], asked[:3]).slope)


def test_a_mouth_is_read_where_its_face_is() -> None:
    video, _ = sample_files()
    tracker, reader = open_tracker(), MouthReader()
    openings = []
    with VideoReader(video) as source:
        for frame in source.frames(0, 40):
            if frame.index % 8:
                continue
            rgb = frame.rgb()
            landmarks = tracker.detect(rgb)[0]
            low, high = landmarks[:, :2].min(axis=0).astype(int), landmarks[:, :2].max(axis=0).astype(int) + 1
            side = int((high - low).max())
            crop = np.ascontiguousarray(rgb[low[1] : low[1] + side, low[0] : low[0] + side])
            crop = crop if crop.shape[:2] == (side, side) else cv2.copyMakeBorder(
                crop, 0, side - crop.shape[0], 0, side - crop.shape[1], cv2.BORDER_REPLICATE
            )  # fmt: skip
            moved = landmarks - np.float32([*low, 0])
            eyes = np.linalg.norm(landmarks[33, :2] - landmarks[263, :2])
            wanted = np.linalg.norm(landmarks[13, :2] - landmarks[14, :2]) / eyes
            opening, width = reader.read(crop, moved)
            openings.append((wanted, opening))
            assert opening == pytest.approx(wanted, abs=0.02)
            assert width == pytest.approx(np.linalg.norm(landmarks[78, :2] - landmarks[308, :2]) / eyes, abs=0.03)
    assert np.ptp([wanted for wanted, _ in openings]) > 0.05, "the mouth stands still: the test is void"


@pytest.fixture(scope="module")
def data(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = [made_up(model, "long", frames=50, split="val"), made_up(model, "short", frames=20, split="val")]
    return dataset(tmp_path_factory.mktemp("meter"), clips)


@pytest.mark.slow
def test_every_target_is_measured_apart_from_its_references(data: Path, model: MorphableModel) -> None:
    models = tiny_models()
    meter = RendererMeter(model, models.renderer, lambda a, b: float(np.abs(a.astype(int) - b).mean()))
    measured = list(meter.measure(read_dataset(data)))
    assert {target.clip for target, _, _ in measured} == {"long"}
    assert 3 <= len(measured) <= 4
    for target, real, rendered in measured:
        assert real.shape == rendered.shape == (256, 256, 3)
        assert target.lpips is not None and target.lpips > 0
        assert target.face_psnr < 60 and np.isfinite(target.detail)
        assert target.flicker is not None and target.flicker > 0
    told = summary([target for target, _, _ in measured])
    assert {"face_psnr", "lip_psnr", "lpips", "detail", "opening_slope", "beyond_opening_slope", "width_slope"} <= set(
        told
    )


@pytest.mark.slow
def test_the_command_writes_numbers_and_a_sheet(
    data: Path, tmp_path: Path, drawn_faces: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--data", str(data), "-o", str(tmp_path / "report")]) == 0
    assert "face_psnr" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "report" / "targets.json").read_text())) >= 3
    sheet = cv2.imread(str(tmp_path / "report" / "mouths.png"))
    assert sheet is not None and sheet.std() > 0
    assert main(["evaluate", "--data", str(tmp_path), "-o", str(tmp_path / "other")]) == 10
