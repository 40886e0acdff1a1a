"""Preparation of raw video: what is kept, what is left out and why, and what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.datasets import KEEP_ALL, one_by_one, prepared
from helpers.sample_clips import sample_frames, write_video

from personatalk.cli import main
from personatalk.errors import MediaError, PersonaTalkError
from personatalk.geometry.camera import crop_transform, warp
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.sample import sample_files
from personatalk.training.data import prepare
from personatalk.training.data.layouts import VideoSource, find_videos
from personatalk.training.data.options import PrepareOptions
from personatalk.training.data.outcomes import PrepareOutcome, RejectReason, crash_outcome
from personatalk.training.data.shards import read_dataset

SAMPLE = VideoSource("sample", sample_files()[0], "nobody")


@pytest.mark.slow
def test_stretches_are_cut_at_length_and_at_cuts(tmp_path: Path) -> None:
    frames = sample_frames(60)
    other = [np.ascontiguousarray(255 - f[:, ::-1] // 3) for f in frames[:20]]
    video = write_video(tmp_path / "v.mp4", frames + other + frames[:10])
    outcome = prepare.prepare_video(
        VideoSource("v", video, "x"), tmp_path, PrepareOptions(max_seconds=1.5, min_sync=0, min_speech=0)
    )
    assert outcome.clips[:2] == ["v-000000", "v-000030"]
    assert outcome.rejected[RejectReason.SHORT.value] >= 1


@pytest.mark.slow
def test_the_clock_is_25_a_second_whatever_the_videos(tmp_path: Path) -> None:
    frames = sample_frames(60)
    video = write_video(tmp_path / "v.mp4", frames, times=[i / 50 for i in range(60)])
    (row,) = read_dataset(prepared(tmp_path / "data", [VideoSource("v", video, "x")]))
    clip = row.load()
    np.testing.assert_allclose(clip.time, np.arange(30) / 25, atol=1e-3)
    assert len(clip.crops) == 30 and not row.has_audio
    # A crop is that of its own frame, every second one of the video.
    for number in (0, 11, 29):
        near = [
            warp(frames[2 * number + d], crop_transform(clip.pose[number]))
            for d in (-2, 0, 2)
            if 0 <= 2 * number + d < 60
        ]
        errors = [float(np.abs(clip.crops[number].astype(float) - p).mean()) for p in near]
        assert min(errors) == errors[0 if number == 0 else 1]


@pytest.mark.slow
def test_every_rejection_is_counted_with_its_reason(tmp_path: Path) -> None:
    grey = [np.full((96, 128, 3), 90, np.uint8)] * 30
    small = [cv2.resize(f, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA) for f in sample_frames(30)]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    sources = [
        VideoSource("broken", tmp_path / "broken.mp4", "x"),
        VideoSource("grey", write_video(tmp_path / "grey.mp4", grey), "x"),
        VideoSource("brief", write_video(tmp_path / "brief.mp4", sample_frames(12)), "x"),
        VideoSource("small", write_video(tmp_path / "small.mp4", small), "x"),
        VideoSource("good", write_video(tmp_path / "good.mp4", sample_frames(30)), "x"),
    ]
    folder = prepared(tmp_path / "data", sources)
    manifest = json.loads((folder / "manifest.json").read_text())
    rejected = manifest["rejected"]
    assert rejected[RejectReason.UNREADABLE.value] == 1
    assert rejected[RejectReason.SHORT.value] == 1
    assert rejected[RejectReason.NO_FACE.value] + rejected.get(RejectReason.SMALL.value, 0) == 2
    assert (manifest["videos"], manifest["clips"]) == (5, 1)
    assert manifest["options"]["min_seconds"] == 1.0


@pytest.mark.slow
def test_a_kill_loses_nothing_and_nothing_is_done_twice(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", sample_frames(30))
    sources = [VideoSource(f"s{i}", video, f"p{i}") for i in range(4)]
    folder, worked = tmp_path / "data", []

    def killed_after(count: int) -> prepare.Executor:
        def engine(
            work: Callable[[VideoSource], PrepareOutcome], left: Iterable[VideoSource]
        ) -> Iterator[PrepareOutcome]:
            for number, source in enumerate(left):
                if number == count:
                    raise KeyboardInterrupt
                worked.append(source.key)
                yield work(source)

        return engine

    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(sources, folder, KEEP_ALL, killed_after(1), shard_bytes=1)
    # The kill comes in the middle of a line of the journal, and in the middle of a part.
    (folder / "journal.jsonl").open("a").write('{"key": "s1", "cl')
    (folder / "parts" / "s1.77.part").write_bytes(b"half")
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(sources, folder, KEEP_ALL, killed_after(2), shard_bytes=1 << 30)
    manifest = prepare.prepare(sources, folder, KEEP_ALL, killed_after(9), shard_bytes=1 << 30)
    assert worked == ["s0", "s1", "s2", "s3"]
    assert manifest["videos"] == manifest["clips"] == 4
    assert [row.key for row in read_dataset(folder)] == [f"s{i}-000000" for i in range(4)]
    assert not list((folder / "parts").iterdir())
    # The videos are one and the same.
    (whole,) = read_dataset(prepared(tmp_path / "unbroken", sources[:1]))
    for row in read_dataset(folder):
        np.testing.assert_array_equal(row.load().beta, whole.load().beta)


@pytest.mark.slow
def test_a_kill_between_a_shard_and_its_parts_doubles_nothing(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", sample_frames(30))
    folder = prepared(tmp_path / "data", [VideoSource("s0", video, "x")])
    (folder / "manifest.json").unlink()
    (folder / "parts" / "s0.tar").write_bytes(b"left over")
    manifest = prepare.prepare([VideoSource("s0", video, "x")], folder, KEEP_ALL, one_by_one)
    assert manifest["clips"] == 1
    assert not list((folder / "parts").iterdir())


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="same name"):
        prepare.prepare([SAMPLE, SAMPLE], tmp_path, KEEP_ALL, one_by_one)


@pytest.mark.slow
def test_a_data_set_keeps_to_its_options_and_its_videos(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", sample_frames(30))
    folder = prepared(tmp_path / "data", [VideoSource("s", video, "x")])
    with pytest.raises(MediaError, match="another split"):
        prepared(folder, [VideoSource("t", video, "x")], PrepareOptions(split="val", min_sync=0, min_speech=0))
    other = write_video(tmp_path / "w.mp4", sample_frames(40))
    with pytest.raises(MediaError, match="another video under the name s"):
        prepared(folder, [VideoSource("s", other, "x")])


@pytest.mark.slow
def test_what_is_not_there_is_tried_again(tmp_path: Path) -> None:
    source = VideoSource("s", tmp_path / "v.mp4", "x")
    folder = prepared(tmp_path / "data", [source])
    assert json.loads((folder / "manifest.json").read_text())["rejected"] == {RejectReason.MISSING.value: 1}
    write_video(source.video, sample_frames(30))
    assert len(read_dataset(prepared(folder, [source]))) == 1


def test_a_missing_model_ends_the_run_and_spares_the_videos(tmp_path: Path) -> None:
    with pytest.raises(PersonaTalkError, match=r"none\.safetensors"):
        prepared(tmp_path / "data", [SAMPLE], PrepareOptions(morphable=tmp_path / "none.safetensors"))
    assert not (tmp_path / "data" / "journal.jsonl").exists()


@pytest.mark.slow
def test_a_poor_picture_is_left_out(tmp_path: Path) -> None:
    blurred = [cv2.GaussianBlur(f, (0, 0), 6) for f in sample_frames(30)]
    good = VideoSource("good", write_video(tmp_path / "good.mp4", sample_frames(30)), "x")
    poor = VideoSource("poor", write_video(tmp_path / "poor.mp4", blurred), "x")
    scores = {}
    for source in (good, poor):
        (row,) = read_dataset(prepared(tmp_path / source.key, [source], PrepareOptions(max_niqe=1e6)))
        scores[source.key] = 1e6 - row.load().about["quality_margin"]
    assert scores["poor"] > 1.2 * scores["good"]
    between = PrepareOptions(max_niqe=(scores["good"] + scores["poor"]) / 2)
    manifest = prepare.prepare([good, poor], tmp_path / "data", between, one_by_one)
    assert manifest["clips"] == 1
    assert manifest["rejected"] == {RejectReason.LOW_QUALITY.value: 1}


def test_a_crash_rejects_its_video() -> None:
    outcome = crash_outcome(SAMPLE, 3)
    assert (outcome.key, outcome.clips, outcome.rejected) == ("sample", [], {RejectReason.CRASHED.value: 1})


@pytest.mark.ray
@pytest.mark.slow
def test_the_same_command_runs_on_a_ray_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: MorphableModel
) -> None:
    for name in ("a", "b"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        write_video(tmp_path / "videos" / name / "v.mp4", sample_frames(30))
    words = ["data", "prepare", str(tmp_path / "videos"), "--workers", "1", "--ray", "local", "-o"]
    assert main.main([*words, str(tmp_path / "ray")]) == 0
    assert "2 clips of 2 speakers" in capsys.readouterr().out
    here = prepared(tmp_path / "here", find_videos(tmp_path / "videos"), PrepareOptions())
    for a, b in zip(read_dataset(tmp_path / "ray"), read_dataset(here), strict=True):
        one, other = a.load(), b.load()
        assert a.key == b.key and len(one.crops) == len(other.crops)
        # Sums are rounded in another order where there are more threads: less than the fit's own tolerance, 0.5 %.
        vertices = [model.vertices(clip.alpha, clip.beta) for clip in (one, other)]
        assert np.abs(vertices[0] - vertices[1]).max() < 0.005


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "prepare", str(sample_files()[0]), "-o", str(tmp_path / "d"), "--ray", "127.0.0.1:1"]
    assert main.main(words) == 1
    assert "no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_without_a_clip_does_not_pass_for_a_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert (
        main.main(["data", "prepare", str(tmp_path / "broken.mp4"), "-o", str(tmp_path / "d"), "--workers", "1"]) == 1
    )
    assert "1 x unreadable" in capsys.readouterr().out
