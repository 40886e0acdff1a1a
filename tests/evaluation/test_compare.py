"""Measuring pairs of videos: each change moves the figures that it should."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import Filmed, Pooled

from personatalk.evaluation import jobs, report
from personatalk.evaluation.compare import ComparisonResult, evaluate_pair, ground_truth
from personatalk.evaluation.networks import InceptionNetwork, VideoFeatures
from personatalk.evaluation.pair import Comparison, MetricNetworks
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.sample import sample_files
from personatalk.stage1.style_similarity import StyleSimilarityEncoder

FRAMES = 60


@pytest.mark.slow
def test_an_identical_video_is_the_ceiling(found: dict[str, ComparisonResult]) -> None:
    got = found["same"].figures
    assert got["psnr"] > 80 and got["ssim"] == pytest.approx(1)
    assert got["lmd"] < 1e-3 and got["opening_r"] == pytest.approx(1) and got["lag"] == 0
    assert got["articulation"] == pytest.approx(1) and got["jitter"] == pytest.approx(1)
    assert got["style_sim"] == pytest.approx(1, abs=1e-5)
    assert got["faces"] == 1 and got["frames"] == FRAMES


@pytest.mark.slow
def test_each_change_moves_what_it_should(found: dict[str, ComparisonResult]) -> None:
    same = found["same"].figures
    late, frozen, blurred = (found[n].figures for n in ("late", "frozen", "blurred"))
    assert late["lag"] == 3 and late["opening_r"] > 0.98 and late["opening_r0"] < 0.9
    assert late["psnr"] < same["psnr"] - 20
    assert frozen["articulation"] < 0.1 and frozen["opening_r"] < 0.5
    assert blurred["opening_r"] > 0.9 and blurred["ssim"] < 0.97 and blurred["psnr"] < 40
    assert blurred["untouched"] < 45
    noisy, mirrored = found["noisy"].figures, found["mirrored"].figures
    assert noisy["psnr"] == pytest.approx(20 * np.log10(255 / 8), abs=1.5) and noisy["ssim"] < 0.8
    assert mirrored["psnr"] < 30 and mirrored["ssim"] < 0.9


@pytest.mark.slow
def test_a_smaller_video_is_scaled_and_a_crop_aligned(found: dict[str, ComparisonResult]) -> None:
    small, cropped = found["small"].figures, found["cropped"].figures
    for got in (small, cropped):
        assert got["opening_r"] > 0.95 and got["lmd"] < 1.0
        assert got["articulation"] == pytest.approx(1, abs=0.12)
        assert got["psnr"] > 27
    # Aligned by the face, not stretched to the reference's shape.
    assert cropped["ssim"] > 0.9


@pytest.mark.slow
def test_another_frame_rate_is_paired_by_time(found: dict[str, ComparisonResult]) -> None:
    got = found["fast"].figures
    assert got["frames"] == 2 * FRAMES
    assert got["psnr"] > 40 and got["opening_r"] > 0.99 and got["lag"] == 0
    assert got["style_sim"] > 0.99
    assert "60 against 120 frames" in found["fast"].notes["frames"]
    assert "frames" not in found["same"].notes


@pytest.mark.slow
def test_what_cannot_be_measured_is_a_note_and_the_rest_still_comes(found: dict[str, ComparisonResult]) -> None:
    half = found["half"]
    assert "images" in half.notes and "psnr" not in half.figures
    assert half.figures["frames"] == FRAMES


@pytest.mark.slow
def test_audio_and_networks_are_measured_in_a_pair(model: MorphableModel, tmp_path: Path) -> None:
    sample = sample_files()[0]
    torch.jit.script(Pooled()).save(str(tmp_path / "inception.pt"))
    torch.jit.script(Filmed()).save(str(tmp_path / "i3d.pt"))
    networks = MetricNetworks(
        inception=InceptionNetwork(tmp_path / "inception.pt"), video=VideoFeatures(tmp_path / "i3d.pt")
    )
    text = jobs.spoken("Hello there! Welcome, and thank you for watching this short film.")
    got = evaluate_pair(Comparison("x", sample, sample, text), networks, model)
    assert got.figures["closure"] >= 0
    assert got.features["fid"][0].shape == (24, 3) and got.features["fvd"][0].shape == (7, 3)
    assert report.summary([got])["fid"].mean == pytest.approx(0, abs=1e-6)
    unknown = evaluate_pair(Comparison("x", sample, sample, "zzxqy"), MetricNetworks(), model)
    assert "does not know: zzxqy" in unknown.notes["closure"] and "psnr" in unknown.figures


@pytest.mark.slow
def test_worst_frames_are_kept_apart(found: dict[str, ComparisonResult]) -> None:
    worst = found["late"].worst
    assert len(worst) == 3
    places = sorted(frame.number for frame in worst)
    assert min(np.diff(places)) >= 10
    assert worst[0].psnr <= worst[1].psnr <= worst[2].psnr


@pytest.mark.slow
def test_mismatched_words_measure_leakage(videos: dict[str, Path], model: MorphableModel) -> None:
    job = Comparison("x", videos["same"], videos["same"], mismatched=True)
    got = evaluate_pair(job, MetricNetworks(), model).figures
    assert got["leakage"] == pytest.approx(1)
    assert "opening_r" not in got and "psnr" not in got


@pytest.mark.slow
def test_the_ground_truth_row(model: MorphableModel) -> None:
    sample = sample_files()[0]
    text = "hello there welcome and thank you for watching this short film"
    got = ground_truth(
        Comparison("x", sample, sample, text), MetricNetworks(style=StyleSimilarityEncoder.load()), model
    ).figures
    assert got["ssim"] == 1 and math.isinf(got["psnr"]) and got["lmd"] == 0
    assert 0 < got["style_sim"] < 1
    assert 0 <= got["closure"] < 1.5
