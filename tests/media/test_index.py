"""A reader that learns where frames lie from packets alone seeks as one that has decoded everything."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.media_clips import Clip, make, spoil_packets

from personatalk.errors import MediaError
from personatalk.media.reader import Frame, VideoReader

COUNT = 60
OPEN_GOP = {"bf": "2", "g": "10", "x264-params": "open-gop=1:scenecut=0", "preset": "fast"}
INTRA_REFRESH = {"g": "10", "x264-params": "intra-refresh=1:scenecut=0", "preset": "fast"}
B_FRAMES = {"bf": "3", "g": "12", "preset": "fast"}
PLAIN = {"g": "10"}
UNEVEN = [int(place) for place in np.cumsum(np.random.default_rng(0).integers(5, 90, COUNT))]
TICK = Fraction(1, 1000)

# Clips whose packets tell all times.
CLIPS = {
    "B-frames": Clip(Path("a.mp4"), count=COUNT, options=B_FRAMES),
    "open groups of pictures": Clip(Path("a.mp4"), count=COUNT, options=OPEN_GOP),
    "intra refresh": Clip(Path("a.mp4"), count=COUNT, options=INTRA_REFRESH),
    "Matroska": Clip(Path("a.mkv"), count=COUNT, options=OPEN_GOP),
    "transport stream": Clip(Path("a.ts"), count=COUNT, options=OPEN_GOP),
    "uneven times": Clip(Path("a.mp4"), count=COUNT, pts=UNEVEN, time_base=TICK, options=B_FRAMES),
    "a late start": Clip(Path("a.mkv"), count=COUNT, pts=[p + 700 for p in UNEVEN], time_base=TICK, options=B_FRAMES),
    "with audio": Clip(Path("a.mp4"), count=COUNT, audio=[("aac", 440)], options=PLAIN),
    "VP9": Clip(Path("a.webm"), count=COUNT, codec="libvpx-vp9", options={"g": "10", "cpu-used": "8"}),
}

# Clips some of whose packets have no time.
WITHOUT_TIMES = {
    "AVI": Clip(Path("a.avi"), count=COUNT, codec="mpeg4", options=PLAIN),
    "AVI with B-frames": Clip(Path("a.avi"), count=COUNT, codec="mpeg4", options=B_FRAMES),
    "program stream": Clip(Path("a.mpg"), count=COUNT, codec="mpeg2video", options=PLAIN),
}
RANGES = [(0, 3), (25, 33), (41, 44), (30, 31), (39, 42), (58, 80)]

Known = tuple[int, int, np.ndarray]


def known(frames: Iterator[Frame]) -> list[Known]:
    return [(frame.index, frame.pts, frame.rgb()) for frame in frames]


def check_same(found: list[Known], wanted: list[Known]) -> None:
    assert [f[:2] for f in found] == [w[:2] for w in wanted]
    assert all(np.array_equal(f[2], w[2]) for f, w in zip(found, wanted, strict=True))


def full_pass(path: Path) -> tuple[list[Known], list[float]]:
    """All frames, and their times."""
    with VideoReader(path) as reader:
        frames = list(reader.frames())
        return known(iter(frames)), [frame.time for frame in frames]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """Ranges of frames that are asked for."""
    asked: list[tuple[int, int | None]] = []
    real = VideoReader.frames

    def counted(self: VideoReader, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        asked.append((start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(VideoReader, "frames", counted)
    return asked


def placed(clip: Clip, folder: Path) -> Path:
    return make(Clip(**{**vars(clip), "path": folder / clip.path}))


@pytest.mark.parametrize("kind", CLIPS)
def test_packets_are_enough(tmp_path: Path, kind: str, passes: list[tuple[int, int | None]]) -> None:
    path = placed(CLIPS[kind], tmp_path)
    whole, times = full_pass(path)
    passes.clear()
    with VideoReader(path) as reader:
        reader.build_index(times)
        assert passes == []  # nothing was decoded
        for start, stop in RANGES:
            check_same(known(reader.frames(start, stop)), whole[start:stop])


@pytest.mark.parametrize("kind", WITHOUT_TIMES)
def test_packets_without_times_are_decoded(tmp_path: Path, kind: str) -> None:
    path = placed(WITHOUT_TIMES[kind], tmp_path)
    whole, times = full_pass(path)
    with VideoReader(path) as reader:
        reader.build_index(times)
        for start, stop in RANGES:
            check_same(known(reader.frames(start, stop)), whole[start:stop])


def test_an_index_saves_decoding(tmp_path: Path) -> None:
    path = placed(CLIPS["B-frames"], tmp_path)
    _, times = full_pass(path)
    late = list(range(50, COUNT))

    def decoded(reader: VideoReader) -> int:
        """Frames up to the first wanted one, whose file is damaged before."""
        return len(list(reader.frames(late[0], late[-1] + 1)))

    with VideoReader(path) as reader:
        reader.build_index(times)
        spoil_packets(path, range(5, 40))  # a pass from the beginning would stop here
        assert decoded(reader) == len(late)
    with VideoReader(path) as fresh, pytest.raises(MediaError, match="damaged after"):
        decoded(fresh)


def test_other_times_are_not_believed(tmp_path: Path, passes: list[tuple[int, int | None]]) -> None:
    path = placed(CLIPS["B-frames"], tmp_path)
    whole, times = full_pass(path)
    for wrong in (times[:-1], [time + 0.04 for time in times], None):
        passes.clear()
        with VideoReader(path) as reader:
            reader.build_index(wrong)
            assert passes == [(0, None)]  # the whole video was decoded
            check_same(known(reader.frames(41, 44)), whole[41:44])


def test_a_damaged_packet_shifts_no_frame(tmp_path: Path) -> None:
    path = placed(CLIPS["B-frames"], tmp_path)
    spoil_packets(path, range(20, 21))
    whole, times = full_pass(path)
    with VideoReader(path) as reader:
        reader.build_index(times)
        for start, stop in RANGES:
            check_same(known(reader.frames(start, stop)), whole[start:stop])
