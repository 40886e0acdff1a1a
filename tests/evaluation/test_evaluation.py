"""Measuring pairs of videos, and the networks that judge."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import wave
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers.plain_video import write_video
from helpers.synthetic import smooth_picture
from torch import nn

from personatalk.audio.encoder import SAMPLE_RATE
from personatalk.cli import main
from personatalk.errors import PersonaTalkError, WeightsError
from personatalk.evaluation import cache, jobs, report
from personatalk.evaluation.active_speaker import ActiveSpeaker
from personatalk.evaluation.compare import (
    Comparison,
    ComparisonResult,
    MetricNetworks,
    Track,
    align_to,
    crops_at_25,
    evaluate_pair,
    ground_truth,
    motion_in_silence,
    track,
)
from personatalk.evaluation.networks import (
    InceptionNetwork,
    PerceptualNetwork,
    VideoFeatures,
    script,
    square,
)
from personatalk.evaluation.syncnet import SHIFTS, SyncNet, mfcc, score, sync
from personatalk.faces.recognition import ARCFACE_LANDMARKS, ARCFACE_POINTS, ArcFaceRecogniser
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.audio import read_speech
from personatalk.media.reader import VideoReader
from personatalk.sample import sample_files
from personatalk.stage1.style_similarity import StyleSimilarityEncoder, auc, same_speaker
from personatalk.training import ablation
from personatalk.training.config import StyleConfig
from personatalk.training.config_files import read_config
from personatalk.training.style import StyleTask
from personatalk.utils.arrays import Array

FRAMES = 60


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    with VideoReader(sample_files()[0]) as reader:
        return [f.rgb() for f in reader.frames(0, FRAMES)]


@pytest.fixture(scope="module")
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
    paths = {name: write_video(folder / f"{name}.mp4", pictures) for name, pictures in made.items()}
    twice = [f for f in frames for _ in range(2)]
    return {**paths, "fast": write_video(folder / "fast.mp4", twice, rate=50)}


@pytest.fixture(scope="module")
def found(videos: dict[str, Path], model: MorphableModel) -> dict[str, ComparisonResult]:
    judges = MetricNetworks(style=StyleSimilarityEncoder.load())
    return {n: evaluate_pair(Comparison(n, videos["same"], path), judges, model) for n, path in videos.items()}


def test_an_identical_video_is_the_ceiling(found: dict[str, ComparisonResult]) -> None:
    got = found["same"].figures
    assert got["psnr"] > 80 and got["ssim"] == pytest.approx(1)
    assert got["lmd"] < 1e-3 and got["opening_r"] == pytest.approx(1) and got["lag"] == 0
    assert got["articulation"] == pytest.approx(1) and got["jitter"] == pytest.approx(1)
    assert got["style_sim"] == pytest.approx(1, abs=1e-5)
    assert got["faces"] == 1 and got["frames"] == FRAMES


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


def test_a_smaller_video_is_scaled_and_a_crop_laid_on(found: dict[str, ComparisonResult]) -> None:
    small, cropped = found["small"].figures, found["cropped"].figures
    for got in (small, cropped):
        assert got["opening_r"] > 0.95 and got["lmd"] < 1.0
        assert got["articulation"] == pytest.approx(1, abs=0.12)
        assert got["psnr"] > 27
    # Laid on by the face, not stretched to the reference's shape.
    assert cropped["ssim"] > 0.9


def test_another_frame_rate_is_paired_by_time(found: dict[str, ComparisonResult]) -> None:
    got = found["fast"].figures
    assert got["frames"] == 2 * FRAMES
    assert got["psnr"] > 40 and got["opening_r"] > 0.99 and got["lag"] == 0
    assert got["style_sim"] > 0.99
    assert "60 against 120 frames" in found["fast"].notes["frames"]
    assert "frames" not in found["same"].notes


def test_what_cannot_be_measured_is_a_note_and_the_rest_still_comes(found: dict[str, ComparisonResult]) -> None:
    half = found["half"]
    assert "pictures" in half.notes and "psnr" not in half.figures
    assert half.figures["frames"] == FRAMES


def test_sound_and_networks_are_measured_in_a_pair(model: MorphableModel, tmp_path: Path) -> None:
    sample = sample_files()[0]
    torch.jit.script(Pooled()).save(str(tmp_path / "inception.pt"))
    torch.jit.script(Filmed()).save(str(tmp_path / "i3d.pt"))
    judges = MetricNetworks(
        inception=InceptionNetwork(tmp_path / "inception.pt"), video=VideoFeatures(tmp_path / "i3d.pt")
    )
    text = jobs.spoken("Hello there! Welcome, and thank you for watching this short film.")
    got = evaluate_pair(Comparison("x", sample, sample, text), judges, model)
    assert got.figures["closure"] >= 0
    assert got.features["fid"][0].shape == (24, 3) and got.features["fvd"][0].shape == (7, 3)
    assert report.summary([got])["fid"].mean == pytest.approx(0, abs=1e-6)
    unknown = evaluate_pair(Comparison("x", sample, sample, "zzxqy"), MetricNetworks(), model)
    assert "does not know: zzxqy" in unknown.notes["closure"] and "psnr" in unknown.figures


def test_words_are_without_punctuation() -> None:
    assert jobs.spoken("Hello, there! Don't -- 3 o\u2019clock?") == "hello there don't 3 o'clock"


def test_motion_in_silence_is_that_of_the_frames_without_voice(model: MorphableModel) -> None:
    from helpers.landmarks import speaking

    moving = speaking(model, frames=150)
    still = moving.copy()
    still[75:] = moving[0]
    times = np.arange(150) / 25
    sound = np.concatenate([0.1 * np.random.default_rng(0).standard_normal(3 * 16000), np.zeros(3 * 16000)])
    for marks, low, high in ((still, 0.0, 0.35), (moving, 0.8, 1.2)):
        got = motion_in_silence(Track(Path("x"), (400, 400), times, marks, None), sound.astype(np.float32))
        assert low <= got <= high
    loud = np.tile(sound[: 3 * 16000], 2).astype(np.float32)
    assert math.isnan(motion_in_silence(Track(Path("x"), (400, 400), times, moving, None), loud))


def test_a_crop_without_faces_cannot_be_laid_on() -> None:
    nothing = np.full((20, 478, 2), np.nan, np.float32)
    times = np.arange(20) / 25
    a, b = (Track(Path(n), s, times, nothing, None) for n, s in (("a", (64, 64)), ("b", (64, 40))))
    with pytest.raises(PersonaTalkError, match="another shape"):
        align_to(a, b)
    np.testing.assert_allclose(
        align_to(a, Track(Path("c"), (32, 32), times, nothing, None)), [[2, 0, 0.5], [0, 2, 0.5]]
    )


def test_worst_frames_are_kept_apart(found: dict[str, ComparisonResult]) -> None:
    worst = found["late"].worst
    assert len(worst) == 3
    places = sorted(w[0] for w in worst)
    assert min(np.diff(places)) >= 10
    assert worst[0][1] >= worst[1][1] >= worst[2][1]


def test_mismatched_words_measure_leakage(videos: dict[str, Path], model: MorphableModel) -> None:
    job = Comparison("x", videos["same"], videos["same"], mismatched=True)
    got = evaluate_pair(job, MetricNetworks(), model).figures
    assert got["leakage"] == pytest.approx(1)
    assert "opening_r" not in got and "psnr" not in got


def test_the_ground_truth_row(model: MorphableModel) -> None:
    sample = sample_files()[0]
    text = "hello there welcome and thank you for watching this short film"
    got = ground_truth(
        Comparison("x", sample, sample, text), MetricNetworks(style=StyleSimilarityEncoder.load()), model
    ).figures
    assert got["ssim"] == 1 and math.isinf(got["psnr"]) and got["lmd"] == 0
    assert 0 < got["style_sim"] < 1
    assert 0 <= got["closure"] < 1.5


class FakeSession:
    """An ONNX session that answers with a function of its input."""

    def __init__(self, names: list[str], shape: list[Any], answer: Any) -> None:
        self.names, self.shape, self.answer = names, shape, answer

    def get_inputs(self) -> list[Any]:
        return [type("Entry", (), {"name": n, "shape": self.shape}) for n in self.names]

    def run(self, outputs: None, given: dict[str, Array]) -> list[Array]:
        return [self.answer(*given.values())]


@pytest.mark.parametrize(("name", "low", "high"), [("data", 0, 255), ("input.1", -1, 1)])
def test_arcface_sees_an_aligned_crop_in_its_own_scale(
    monkeypatch: pytest.MonkeyPatch, name: str, low: float, high: float
) -> None:
    seen: list[Array] = []

    def answer(crop: Array) -> Array:
        seen.append(crop)
        return np.array([[3.0, 4.0]], np.float32)

    session = FakeSession([name], ["n", 3, 112, 112], answer)
    monkeypatch.setattr("personatalk.faces.recognition.open_onnx", lambda path, inputs: session)
    picture = np.zeros((300, 300, 3), np.uint8)
    marks = np.zeros((478, 2), np.float32)
    marks[list(ARCFACE_LANDMARKS)] = 2 * ARCFACE_POINTS + 20
    centre = (2 * ARCFACE_POINTS[2] + 20).astype(int)
    cv2.circle(picture, (int(centre[0]), int(centre[1])), 6, (255, 128, 0), -1)
    np.testing.assert_allclose(ArcFaceRecogniser("x").embed(picture, marks), [0.6, 0.8])
    crop = seen[-1][0]
    assert crop.shape == (3, 112, 112)
    y, x = ARCFACE_POINTS[2][::-1].astype(int)
    # Red first, the nose where ArcFace wants it, black at the foot of the scale.
    np.testing.assert_allclose(crop[:, y, x], [high, low + (high - low) * 128 / 255, low], atol=0.02 * (high - low))
    assert crop.min() == low


def test_lpips_sees_both_pictures_between_minus_one_and_one(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession(["a", "b"], ["n", 3, "h", "w"], lambda a, b: np.abs(a - b).mean(keepdims=True))
    monkeypatch.setattr("personatalk.evaluation.networks.open_onnx", lambda path, inputs: session)
    black, white = np.zeros((50, 40, 3), np.uint8), np.full((50, 40, 3), 255, np.uint8)
    assert PerceptualNetwork("x").distance(black, white) == pytest.approx(2)
    assert PerceptualNetwork("x").distance(white, white) == 0


class Pooled(nn.Module):
    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return pictures.float().mean(dim=(2, 3))


class Filmed(nn.Module):
    def forward(
        self, clip: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        return clip.mean(dim=(2, 3, 4))


def test_torchscript_networks_are_asked_in_their_convention(tmp_path: Path) -> None:
    torch.jit.script(Pooled()).save(str(tmp_path / "inception.pt"))
    torch.jit.script(Filmed()).save(str(tmp_path / "i3d.pt"))
    red = np.zeros((40, 30, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(InceptionNetwork(tmp_path / "inception.pt").features(red), [[200, 0, 0]])
    got = VideoFeatures(tmp_path / "i3d.pt").features([red] * VideoFeatures.FRAMES)
    np.testing.assert_allclose(got, [[200 / 127.5 - 1, -1, -1]], rtol=1e-5)


@pytest.mark.parametrize("load", [ArcFaceRecogniser, PerceptualNetwork, script, SyncNet.load])
def test_a_missing_or_damaged_network_is_named(tmp_path: Path, load: Any) -> None:
    with pytest.raises(WeightsError, match=r"gone\.bin: no such"):
        load(tmp_path / "gone.bin")
    (tmp_path / "bad.bin").write_bytes(b"not a network at all")
    with pytest.raises(WeightsError, match=r"bad\.bin: "):
        load(tmp_path / "bad.bin")


def test_real_networks_where_they_are(shared: Path) -> None:
    picture = smooth_picture(256, 256, 4)
    lpips = PerceptualNetwork(shared / "evaluators" / "lpips_squeeze.onnx")
    assert lpips.distance(picture, picture) == pytest.approx(0, abs=1e-5)
    assert lpips.distance(picture, 255 - picture) > 0.1
    with pytest.raises(WeightsError, match="2 are wanted"):
        PerceptualNetwork(shared / "evaluators" / "mobilefacenet_arcface_112.onnx")
    identity = ArcFaceRecogniser(shared / "evaluators" / "mobilefacenet_arcface_112.onnx")
    assert identity.inside


def test_the_active_speaker_network_hears_the_words_of_the_face(shared: Path) -> None:
    folder = shared / "evaluators"
    judge = ActiveSpeaker(folder / "lr_asd_ava_visual.onnx", folder / "lr_asd_ava_backend.onnx")
    clip = shared / "clips" / "val" / "video_retalking_face__1.mp4"
    samples = read_speech(clip, SAMPLE_RATE)
    seen = track(clip, MorphableModel.load())
    own = judge.score(crops_at_25(seen, margin=-0.05), samples)
    late = judge.score(crops_at_25(seen, margin=-0.05), np.roll(samples, SAMPLE_RATE))
    assert own > late
    assert math.isnan(judge.score(iter([]), samples))
    with pytest.raises(WeightsError):
        ActiveSpeaker(folder / "lr_asd_ava_visual.onnx", folder / "lpips_squeeze.onnx")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cache.Source:
    """A made-up network behind an address, as a file of an archive."""
    monkeypatch.setenv("PERSONATALK_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("net.onnx", b"weights")
    source = cache.Source("net.onnx", archive.as_uri(), hashlib.sha256(b"weights").hexdigest(), "net.onnx")
    monkeypatch.setitem(cache.SOURCES, "arcface", source)
    return source


def test_networks_are_found_by_path_cache_or_download(served: cache.Source, tmp_path: Path) -> None:
    assert cache.locate("arcface", tmp_path / "mine.onnx") == tmp_path / "mine.onnx"
    assert cache.locate("arcface", None) is None
    fetched = cache.locate("arcface", None, download=True)
    assert fetched == tmp_path / "cache" / "net.onnx" and fetched.read_bytes() == b"weights"
    (tmp_path / "pack.zip").unlink()
    assert cache.locate("arcface", None) == fetched
    assert cache.locate("lpips", None, download=True) is None
    fetched.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"net\.onnx.*delete it"):
        cache.locate("arcface", None)


def test_a_download_of_another_file_is_refused_and_not_kept(
    served: cache.Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cache.SOURCES, "arcface", replace(served, sha256="0" * 64))
    with pytest.raises(WeightsError, match="SHA-256 is"):
        cache.locate("arcface", None, download=True)
    monkeypatch.setitem(cache.SOURCES, "arcface", replace(served, url=(tmp_path / "gone.zip").as_uri()))
    with pytest.raises(WeightsError, match=r"cannot be fetched.*put net\.onnx into"):
        cache.locate("arcface", None, download=True)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_face_is_cut_out_square() -> None:
    picture = smooth_picture(100, 160, 3)
    marks = np.zeros((478, 2), np.float32)
    marks[0], marks[1:] = (60, 30), (100, 50)
    cut = square(marks, picture, margin=0.0)
    assert cut.shape == (40, 40, 3)
    np.testing.assert_array_equal(cut, picture[20:60, 60:100])
    assert square(marks, picture, margin=2.0).shape == (200, 200, 3)


@pytest.fixture(scope="module")
def syncnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with the authors' names, without the counts that PyTorch did not have then."""
    torch.manual_seed(0)
    state = {k: v for k, v in SyncNet().state_dict().items() if not k.endswith("num_batches_tracked")}
    path = tmp_path_factory.mktemp("sync") / "syncnet_v2.model"
    torch.save(state, path)
    return path


def test_syncnet_has_the_authors_layers(syncnet: Path, tmp_path: Path) -> None:
    network = SyncNet.load(syncnet)
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    assert shapes["netcnnaud.0.weight"] == (64, 1, 3, 3)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfclip.3.weight"] == shapes["netfcaud.3.weight"] == (1024, 512)
    with torch.inference_mode():
        assert network.hear(torch.randn(2, 1, 13, 20)).shape == (2, 1024)
        assert network.see(torch.randn(2, 3, 5, 224, 224)).shape == (2, 1024)
    state = torch.load(syncnet)
    del state["netfclip.3.weight"]
    torch.save(state, tmp_path / "half.model")
    with pytest.raises(WeightsError, match="another network"):
        SyncNet.load(tmp_path / "half.model")


def test_sync_finds_the_shift() -> None:
    seen = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    for late in (-4, 0, 6):
        got = score(seen, seen.roll(late, 0))
        assert got.offset == late
        assert got.distance < 1 and got.confidence > 1
    unrelated = score(seen, torch.randn(60, 8, generator=torch.Generator().manual_seed(1)))
    assert unrelated.confidence < 0.6
    assert len(range(-SHIFTS, SHIFTS + 1)) == 31


def test_sync_streams_a_video(syncnet: Path) -> None:
    network = SyncNet.load(syncnet)
    samples = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert mfcc(samples).shape == (99, 13)
    crops = [smooth_picture(60, 60, 3, seed=i) for i in range(25)]
    got = sync(network, iter(crops), samples)
    assert math.isfinite(got.confidence) and got.distance > 0
    assert math.isnan(sync(network, iter(crops[:3]), samples).confidence)


def test_styles_are_unit_vectors_of_any_length(model: MorphableModel) -> None:
    encoder = StyleSimilarityEncoder.load()
    random = np.random.default_rng(0)
    for length in (25, 99, 100, 130, 400):
        style = encoder.embed(random.standard_normal((length, model.num_expression)).astype(np.float32))
        assert np.linalg.norm(style) == pytest.approx(1, abs=1e-5)


def test_auc_counts_pairs_in_the_right_order() -> None:
    assert auc(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.85])) == pytest.approx(5 / 6)
    assert auc(np.array([0.5]), np.array([0.5])) == pytest.approx(0.5)
    same, different = same_speaker(np.eye(3, dtype=np.float32), ["a", "a", "b"])
    assert len(same) == 1 and len(different) == 2


def test_contrast_is_low_where_a_speakers_windows_are_alike(model: MorphableModel) -> None:
    random = np.random.default_rng(0)
    config = read_config(StyleConfig, changes=["dropout=0"])
    task = StyleTask.__new__(StyleTask)
    nn.Module.__init__(task)
    task.config = config
    task.network = StyleSimilarityEncoder(model.num_vertices, model.num_expression, dropout=0).eval()
    task.network.set_expressions(model)
    people = torch.from_numpy(random.standard_normal((6, 1, 1, model.num_expression)).astype(np.float32))
    alike = people.expand(-1, 2, 60, -1).contiguous()
    mixed = torch.stack([alike[:, 0], alike[:, 1].roll(1, 0)], dim=1)
    assert float(task._contrast(alike)) < float(task._contrast(mixed)) - 0.3


def a_result(name: str, **figures: float) -> ComparisonResult:
    return ComparisonResult(Comparison(name, Path("r"), Path("g")), figures)


def test_the_table_has_means_intervals_and_what_is_missing(tmp_path: Path) -> None:
    results = [a_result(str(i), psnr=30.0 + i, ssim=0.9, lmd=math.nan if i else 2.0) for i in range(5)]
    rows = report.write(
        tmp_path / "out", {"ours": results, report.GROUND_TRUTH: [a_result("t", psnr=math.inf, ssim=1.0)]}
    )
    cell = rows["ours"]["psnr"]
    assert cell.mean == 32 and 30 < cell.low < 32 < cell.high < 34
    assert rows["ours"]["lmd"].count == 1
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| PSNR ↑ | 32.00 [" in text and "| - |" in text
    assert "SyncScore: needs --syncnet" in text
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["table"]["ground truth"]["psnr"]["mean"] is None
    assert content["clips"]["ours"][1]["lmd"] is None
    with (tmp_path / "out" / "clips.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["psnr"] for line in lines[:2]] == ["30.0", "31.0"]
    assert lines[1]["lmd"] == ""


def test_means_are_over_the_clips_that_every_system_has() -> None:
    def of(name: str, **figures: float) -> ComparisonResult:
        return ComparisonResult(Comparison(name, Path(name), Path("g")), figures)

    sets = {
        "good": [of("a", psnr=30.0), of("b", psnr=20.0)],
        "fails": [of("a", psnr=28.0), of("b")],
        "never ran": [of("a"), of("b")],
    }
    sets[report.GROUND_TRUTH] = [of("a", psnr=math.inf), of("b", psnr=math.inf)]
    assert {row: len(kept) for row, kept in report.comparable(sets).items()} == dict.fromkeys(sets, 1)
    lines = report.left_out(sets)
    assert [line.split(":")[0] for line in lines] == list(sets)
    assert lines[0].endswith("1 of 2 clips, which some system lacks, are not in its means: b")
    assert report.comparable({"x": [of("a")]}) == {"x": []}


def test_fid_is_of_all_clips_together() -> None:
    random = np.random.default_rng(0)
    results = []
    for _ in range(4):
        result = a_result("x")
        real, made = (random.standard_normal((200, 2)) for _ in range(2))
        result.features["fid"] = (real, made + np.array([2.0, 0]))
        results.append(result)
    cell = report.summary(results)["fid"]
    assert cell.mean == pytest.approx(4, rel=0.15)
    assert cell.count == 4 and math.isnan(cell.low)


def test_the_page_shows_curves_and_worst_frames_and_no_markup_of_names(found: dict[str, ComparisonResult]) -> None:
    odd = ComparisonResult(Comparison("<script>x</script>", Path("r"), Path("g")), {"psnr": 30.0}, {"lmd": "<b>"})
    page = report.page({"ours": [found["late"], odd]}, report.table({"ours": report.summary([odd])}), ["a & b"])
    assert page.count("<svg") == 1 and page.count("data:image/jpeg") == 3
    assert "<script>" not in page and "<b>" not in page and "a &amp; b" in page


def test_lists_and_folders_name_pairs(tmp_path: Path) -> None:
    for folder in ("real", "made"):
        (tmp_path / folder).mkdir()
        for name in ("a.mp4", "b.mp4"):
            (tmp_path / folder / name).write_bytes(b"")
    (tmp_path / "made" / "b.mp4").rename(tmp_path / "made" / "b.mkv")
    pairs = jobs.from_folders(tmp_path / "real", tmp_path / "made")
    assert [(p.name, p.generated.name) for p in pairs] == [("a", "a.mp4"), ("b", "b.mkv")]
    (tmp_path / "made" / "b.mkv").unlink()
    assert not jobs.from_folders(tmp_path / "real", tmp_path / "made")[1].generated.exists()
    (tmp_path / "real" / "a.mkv").write_bytes(b"")
    with pytest.raises(PersonaTalkError, match=r"a\.mkv and a\.mp4 have one name"):
        jobs.from_folders(tmp_path / "real", tmp_path / "made")
    listing = tmp_path / "pairs.csv"
    listing.write_text("reference,generated,text,mismatched\nreal/a.mp4,made/a.mp4,Hello,yes\n")
    (job,) = jobs.from_list(listing)
    assert job.reference == tmp_path / "real" / "a.mp4" and job.text == "hello" and job.mismatched


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no pair"),
        ("video,other\na,b\n", "line 2: needs the columns"),
        ("reference,generated\nnone.mp4,b.mp4\n", "line 2: .*none.mp4 is not there"),
    ],
)
def test_a_damaged_list_is_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(PersonaTalkError, match=message):
        jobs.from_list(tmp_path / "pairs.csv")
    with pytest.raises(PersonaTalkError, match="not a readable list"):
        jobs.from_list(tmp_path / "nowhere.csv")
    with pytest.raises(PersonaTalkError, match="no folder with videos"):
        jobs.from_folders(tmp_path, tmp_path / "nowhere")


def test_the_command_measures_and_reports(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = tmp_path / "pairs.csv"
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    rows = [("reference", "generated"), (videos["same"], videos["blurred"]), (videos["same"], bad)]
    listing.write_text("".join(f"{a},{b}\n" for a, b in rows))
    assert main.main(["evaluate", "--pairs", str(listing), "-o", str(tmp_path / "report")]) == 0
    out = capsys.readouterr().out
    assert "bad.mp4 is not a media file" in out and "| SSIM ↑ |" in out and "LPIPS: needs --lpips" in out
    assert {f.name for f in (tmp_path / "report").iterdir()} == {
        *("table.md", "clips.csv", "report.json", "report.html", "progress.csv")
    }
    assert "generated: 1 of 2 clips, which some system lacks, are not in its means: bad" in out
    with (tmp_path / "report" / "progress.csv").open(newline="") as file:
        assert [(r["row"], r["clip"]) for r in csv.DictReader(file)] == [
            ("generated", "blurred"),
            ("generated", "bad"),
            ("ground truth", "blurred"),
        ]
    assert main.main(["evaluate", "--reference", str(tmp_path), "-o", str(tmp_path / "r")]) == 1
    assert "belong together" in capsys.readouterr().err
    same = ["--generated", str(tmp_path / "a" / "out"), str(tmp_path / "b" / "out")]
    assert main.main(["evaluate", "--reference", str(tmp_path), *same, "-o", str(tmp_path / "r")]) == 1
    assert "a name of its own" in capsys.readouterr().err


def test_every_row_of_table_4_has_its_weights(tmp_path: Path) -> None:
    for name in ablation.VARIANTS:
        folder = ablation.run_folder(tmp_path, name)
        folder.mkdir()
        (folder / "best.safetensors").write_bytes(b"")
    rows = ablation.ablation_weights(tmp_path)
    assert list(rows) == ["full", "w/o style", "w/o Face-Attention", "w/o Lip-Attention", "w/o frame selection"]
    assert len(set(rows.values())) == 5
    first, second = rows["full"]
    assert rows["w/o style"][1] == second and rows["w/o style"][0] != first
    assert all(rows[n][0] == first and rows[n][1] != second for n in list(rows)[2:])
    (ablation.run_folder(tmp_path, "w/o Lip-Attention") / "best.safetensors").unlink()
    with pytest.raises(PersonaTalkError, match=r"wo_Lip-Attention.*let 'personatalk ablate' end"):
        ablation.ablation_weights(tmp_path)


def test_a_folder_is_dubbed_with_its_own_sound_silence_and_the_next_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, done = tmp_path / "clips", []
    clips.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (clips / name).write_bytes(sample_files()[0].read_bytes())

    def fake(video: Path, speech: Path, output: Path, **options: object) -> None:
        done.append((video.name, speech.name, output.name))
        output.write_bytes(b"dub")

    monkeypatch.setattr(jobs, "dub", fake)
    models: Any = SimpleNamespace(fingerprint=lambda: "ours")
    found = jobs.self_dubs(clips, tmp_path / "out", models)
    assert [j.mismatched for kind in found.values() for j in kind] == [False, False, True, True, True, True]
    assert ("a.mp4", "b.mp4", "a.mismatched.mp4") in done and ("b.mp4", "b.silence.wav", "b.silent.mp4") in done
    with wave.open(str(tmp_path / "out" / "a.silence.wav")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(119 / 25, abs=0.05)
        assert not any(file.readframes(file.getnframes()))
    # What is there is kept, unless other networks made it.
    jobs.self_dubs(clips, tmp_path / "out", models, ("own",))
    assert len(done) == 6
    models.fingerprint = lambda: "others"
    jobs.self_dubs(clips, tmp_path / "out", models, ("own",))
    assert len(done) == 8

    def failing(*arguments: object, **options: object) -> None:
        raise PersonaTalkError("no face")

    monkeypatch.setattr(jobs, "dub", failing)
    assert jobs.self_dubs(clips, tmp_path / "none", models, ("own",)) == {"own": []}
    with pytest.raises(PersonaTalkError, match="no folder with videos"):
        jobs.self_dubs(tmp_path / "nowhere", tmp_path / "out", models)
