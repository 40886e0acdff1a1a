"""Reading of real files that the tests make: times, rotation, pasting, speech, and everything broken."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media_clips import Clip, clicks, encode_samples, make, onsets, picture, spoil_packets, write_wav

from personatalk.errors import MediaError
from personatalk.media.audio import read_speech
from personatalk.media.orientation import Orientation
from personatalk.media.pixels import planes_of
from personatalk.media.probe import probe_speech, probe_video
from personatalk.media.reader import Frame, VideoReader

# Containers and encoders; not all of their demuxers tell how long a single frame is shown.
HELD = [".mp4 libx264", ".mp4 libvpx-vp9", ".webm libvpx-vp9", ".flv flv", ".wmv wmv2", ".avi mpeg4", ".mkv ffv1"]

SHARED = Path(__file__).resolve().parents[3] / "shared" / "clips" / "val"


def one_line(error: pytest.ExceptionInfo[MediaError]) -> str:
    text = str(error.value)
    assert text and "\n" not in text
    return text


# ------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(50)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_constant_rate(tmp_path: Path, fps: Fraction, suffix: str) -> None:
    path = make(Clip(tmp_path / f"clip{suffix}", fps=fps, count=30))
    with VideoReader(path) as reader:
        frames = list(reader.frames())
    assert [frame.index for frame in frames] == list(range(30))
    tick = float(reader.info.time_base)
    np.testing.assert_allclose([f.time for f in frames], np.arange(30) / float(fps), atol=tick)
    assert float(reader.info.average_fps) == pytest.approx(float(fps), rel=1e-3)
    assert reader.info.estimated_frames == pytest.approx(30, abs=1)
    assert all(f.duration * tick == pytest.approx(1 / float(fps), abs=tick) for f in frames)


def test_variable_rate_and_late_start(tmp_path: Path) -> None:
    pts = [300, 340, 400, 500, 520, 900]
    clip = Clip(tmp_path / "a.mp4", count=6, pts=pts, time_base=Fraction(1, 1000), audio=[("aac", 440)])
    with VideoReader(make(clip)) as reader:
        times = [frame.time for frame in reader.frames()]
    # The sound starts at 0, so the file does; the video comes 0.3 s later.
    assert reader.info.start_seconds == 0.0
    np.testing.assert_allclose(times, np.array(pts) / 1000, atol=1e-9)


def test_file_that_starts_late_starts_at_zero(tmp_path: Path) -> None:
    with VideoReader(make(Clip(tmp_path / "a.mpg", codec="mpeg2video"))) as reader:
        frames = list(reader.frames())
    assert reader.info.start_seconds > 0.1  # MPEG files start with a delay
    assert frames[0].time == pytest.approx(0.0, abs=1e-6)
    assert len(frames) == 25
    assert frames[-1].time == pytest.approx(24 / 25, abs=1e-4)


def test_missing_pts_follow_the_frame_before(tmp_path: Path) -> None:
    raw = tmp_path / "a.h264"
    with av.open(str(make(Clip(tmp_path / "a.mp4")))) as source, raw.open("wb") as out:
        to_raw = av.BitStreamFilterContext("h264_mp4toannexb", source.streams.video[0])
        for packet in source.demux(video=0):
            for piece in to_raw.filter(packet if packet.size else None):
                out.write(bytes(piece))
    with VideoReader(raw) as reader:
        frames = list(reader.frames())
    assert len(frames) == 25
    np.testing.assert_allclose(np.diff([f.time for f in frames]), 0.04, atol=1e-6)


def test_frames_is_lazy_and_ranges_agree(tmp_path: Path) -> None:
    options = {"bf": "2", "g": "10", "x264-params": "open-gop=1:scenecut=0", "preset": "fast"}
    path = make(Clip(tmp_path / "a.mp4", count=60, options=options))
    with VideoReader(path) as reader:
        whole = [(f.index, f.pts, f.rgb()) for f in reader.frames()]
        assert len(reader._keys) > 3  # so that the ranges below really seek
        for start, stop in [(0, 3), (25, 33), (41, 44), (30, 31), (58, 80)]:
            part = [(f.index, f.pts, f.rgb()) for f in reader.frames(start, stop)]
            wanted = whole[start:stop]
            assert [p[:2] for p in part] == [w[:2] for w in wanted]
            assert all(np.array_equal(p[2], w[2]) for p, w in zip(part, wanted, strict=True))
        assert list(reader.frames(5, 5)) == []
    with VideoReader(path) as fresh:  # nothing known yet: decodes from the beginning
        assert [f.pts for f in fresh.frames(41, 44)] == [w[1] for w in whole[41:44]]


def test_two_passes_side_by_side(tmp_path: Path) -> None:
    with VideoReader(make(Clip(tmp_path / "a.mp4"))) as reader:
        pairs = list(zip(reader.frames(), reader.frames(), strict=True))
    assert all(a.pts == b.pts for a, b in pairs) and len(pairs) == 25


def test_closing_the_reader_ends_its_passes(tmp_path: Path) -> None:
    with VideoReader(make(Clip(tmp_path / "a.mp4"))) as reader:
        frames = reader.frames()
        next(frames)
    assert list(frames) == []


# ------------------------------------------------------------------------------------------ pictures


def test_side_data_of_unknown_kinds_is_left_out(tmp_path: Path) -> None:
    # FFmpeg gives frames of TIFF their EXIF, which PyAV has no name for.
    with VideoReader(make(Clip(tmp_path / "a.mov", codec="tiff", pix_fmt="rgb24", count=2, clockwise=90))) as reader:
        assert reader.info.orientation == Orientation(90)
        assert [frame.rgb().shape for frame in reader.frames()] == [(128, 96, 3)] * 2


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_rotation(tmp_path: Path, clockwise: int, suffix: str) -> None:
    path = make(Clip(tmp_path / f"a{suffix}", clockwise=clockwise, count=2, options={"crf": "1"}))
    with VideoReader(path) as reader:
        info, frame = reader.info, next(reader.frames())
    upright = np.rot90(picture(0, 128, 96), -clockwise // 90)
    assert info.orientation == Orientation(clockwise)
    assert (info.width, info.height) == (128, 96)
    assert info.upright_size == upright.shape[1::-1]
    assert np.abs(frame.rgb().astype(int) - upright).mean() < 6


@pytest.mark.parametrize("colours", [(1, 1, 1, 1), (6, 2, 6, 6), (9, 1, 9, 14)], ids=["bt709", "bt601-full", "bt2020"])
def test_colour_tags_and_colours(tmp_path: Path, colours: tuple[int, int, int, int]) -> None:
    clip = Clip(tmp_path / "a.mp4", count=1, colours=colours, pix_fmt="yuv444p", options={"crf": "1"})
    with VideoReader(make(clip)) as reader:
        info, frame = reader.info, next(reader.frames())
    assert (info.colorspace, info.color_range, info.color_primaries, info.color_trc) == colours
    assert np.abs(frame.rgb().astype(int) - picture(0, 128, 96)).mean() < 2.5


FORMATS = [
    *("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "nv12"),
    *("gray", "gray10le", "rgb24", "bgr24", "rgba", "rgb0", "gbrp", "gbrp10le", "p010le", "yuva420p"),
    *("yuyv422", "yuv411p", "rgb48le"),
]


def frame_of(pix_fmt: str, rotation: int, size: tuple[int, int] = (61, 46)) -> Frame:
    image = av.VideoFrame.from_ndarray(picture(0, *size), format="rgb24").reformat(format=pix_fmt)
    image.pts = 7
    image.colorspace, image.color_range = 1, 2 if pix_fmt.startswith("yuvj") else 1
    return Frame(3, 0.28, 7, 1, image, Orientation(rotation))


def samples(frame: Frame) -> list[np.ndarray]:
    return [plane.samples.copy() for plane in planes_of(frame.image)]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_paste_changes_the_place_and_nothing_else(pix_fmt: str, rotation: int) -> None:
    frame = frame_of(pix_fmt, rotation, (64, 48))  # packed 4:2:2 knows no odd widths
    before = bytes(frame.image.planes[0])
    rgb = frame.rgb()
    patch = np.full((27, 31, 3), (30, 200, 90), np.uint8)
    mask = np.zeros((27, 31), np.float32)
    mask[2:-2, 3:-3] = 1.0
    result = frame.pasted(patch, mask, 7, 9)
    assert bytes(frame.image.planes[0]) == before  # the decoder's own picture
    assert result.image.format.name == pix_fmt
    assert (result.index, result.pts, result.orientation.rotation) == (3, 7, rotation)
    assert (result.image.colorspace, result.image.color_range) == (1, frame.image.color_range)
    place = np.zeros(rgb.shape[:2], bool)
    place[11:34, 10:35] = True
    new = result.rgb().astype(int)
    core = new[20:25, 20:25]
    wanted = frame_of_colour(pix_fmt, (30, 200, 90))
    assert np.abs(core - wanted).max() <= 6, (core[0, 0], wanted)
    # Chroma is shared by up to 4 x 2 pixels, and shown with its neighbours mixed in.
    far = ~grown(place, 12)
    assert np.array_equal(new[far], rgb[far])


def frame_of_colour(pix_fmt: str, colour: tuple[int, int, int]) -> Frame:
    flat = av.VideoFrame.from_ndarray(np.full((16, 16, 3), colour, np.uint8), format="rgb24")
    if pix_fmt.startswith("gray"):
        flat = flat.reformat(format="gray").reformat(format="rgb24")
        return flat.to_ndarray()[8, 8].astype(int)
    return np.array(colour)


def grown(place: np.ndarray, by: int) -> np.ndarray:
    padded = np.pad(place, by)
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * by + 1, 2 * by + 1)).any(axis=(2, 3))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv422p", "nv12", "yuva420p", "gray", "rgb24"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_samples_outside_the_mask_are_bit_exact(pix_fmt: str, rotation: int) -> None:
    rng = np.random.default_rng(0)
    frame = frame_of(pix_fmt, rotation)  # an odd size: half a chroma sample at the edges
    height, width = frame.rgb().shape[:2]
    patch = rng.integers(0, 256, (13, 11, 3), dtype=np.uint8)
    mask = (rng.random((13, 11)) > 0.5).astype(np.float32) * 0.7
    left, top = width - 7, height - 8
    result = frame.pasted(patch, mask, left, top)
    upright = np.zeros((height, width), np.float32)
    upright[top:, left:] = mask[: height - top, : width - left]
    stored = np.rot90(upright, rotation // 90)
    changed = 0
    for old, new, plane in zip(samples(frame), samples(result), planes_of(frame.image), strict=True):
        steps = ((0, -stored.shape[0] % plane.step_y), (0, -stored.shape[1] % plane.step_x))
        padded = np.pad(stored, steps)
        rows, columns = old.shape[:2]
        touched = padded.reshape(rows, plane.step_y, columns, plane.step_x).max(axis=(1, 3)) > 0
        assert np.array_equal(old[~touched], new[~touched])
        changed += (old != new).sum()
    assert changed > 20


def test_pasting_a_frames_own_pixels_changes_almost_nothing() -> None:
    for pix_fmt in ("yuv420p", "yuv420p10le", "yuv444p"):
        frame = frame_of(pix_fmt, 0, (64, 48))
        frame.image.colorspace = 1
        rgb = frame.rgb()
        result = frame.pasted(rgb[10:30, 20:50], np.ones((20, 30), np.float32), 20, 10)
        assert np.abs(result.rgb().astype(int) - rgb).mean() < 1.0


def test_half_mask_is_half_way() -> None:
    frame = frame_of("yuv444p", 0, (64, 48))
    patch = np.full((20, 20, 3), 255, np.uint8)
    whole = frame.pasted(patch, np.full((20, 20), 1.0, np.float32), 10, 10)
    half = frame.pasted(patch, np.full((20, 20), 0.5, np.float32), 10, 10)
    for old, full, mid in zip(samples(frame), samples(whole), samples(half), strict=True):
        assert np.abs(mid.astype(int) - (old.astype(int) + full) / 2).max() <= 0.5


def test_what_lies_under_mask_zero_does_not_bleed_in() -> None:
    frame = frame_of("yuv420p", 0, (64, 48))
    rgb = frame.rgb()
    mask = np.zeros((9, 9), np.float32)
    mask[4, 4] = 1.0
    red = np.zeros((9, 9, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    red[4, 4] = rgb[24, 34]
    result = frame.pasted(red, mask, 30, 20)
    assert np.abs(result.rgb().astype(int) - rgb).max() <= 8


@pytest.mark.parametrize("left, top", [(-30, 5), (5, -40), (1000, 5), (5, 1000), (-9, -9), (55, 40)])
def test_patch_may_hang_over(left: int, top: int) -> None:
    frame = frame_of("yuv420p", 90)
    height, width = frame.rgb().shape[:2]
    result = frame.pasted(np.zeros((12, 12, 3), np.uint8), np.ones((12, 12), np.float32), left, top)
    overlaps = -12 < left < width and -12 < top < height
    assert any(not np.array_equal(a, b) for a, b in zip(samples(frame), samples(result), strict=True)) == overlaps


def test_pasted_rejects_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        frame_of("yuv420p", 0).pasted(np.zeros((4, 4, 3), np.uint8), np.ones((4, 5), np.float32), 0, 0)


# ------------------------------------------------------------------------------------------ broken files


def test_errors_of_opening(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("hello\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    sound = write_wav(tmp_path / "a.wav", clicks(0.2, 16000, ()), 16000)
    av.VideoFrame(16, 16, "rgb24").save(str(tmp_path / "a.png"))
    for name, words in {
        "missing.mp4": "does not exist",
        "folder": "is a folder",
        "notes.txt": "text file|not a media file",
        "empty.mp4": "empty",
        "noise.mp4": "not a media file",
        sound.name: "only sound",
        "a.png": "still picture",
    }.items():
        with pytest.raises(MediaError, match=words) as error:
            probe_video(tmp_path / name)
        assert name in one_line(error)


def test_an_animated_webp_is_no_still_picture(tmp_path: Path) -> None:
    for count, words in ((3, "an animated WebP, which FFmpeg cannot read; convert"), (1, "still picture")):
        path = make(Clip(tmp_path / f"{count}.webp", count=count, codec="libwebp_anim" if count > 1 else "libwebp"))
        with pytest.raises(MediaError, match=words) as error:
            probe_video(path)
        assert path.name in one_line(error)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = make(Clip(tmp_path / "a.mp4", count=1))
    path.chmod(0)
    with pytest.raises(MediaError, match="may not be read"):
        probe_video(path)


@pytest.mark.parametrize("suffix_codec", HELD)
def test_a_last_frame_that_is_held_long_is_no_damage(suffix_codec: str, tmp_path: Path) -> None:
    suffix, codec = suffix_codec.split()
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, width=64, height=48, options={"g": "4"})
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for number in range(10):
            image = av.VideoFrame.from_ndarray(picture(number, 64, 48), format="rgb24").reformat(format="yuv420p")
            image.pts, image.time_base = 40 * number, Fraction(1, 1000)
            packets += video.encode(image)
        packets += video.encode(None)
        last = max(packets, key=lambda packet: packet.pts)
        last.duration = 3000
        out.mux(packets)
    with VideoReader(path) as reader:
        for frames in (list(reader.frames()), list(reader.frames(7))):  # from the beginning, and after a seek
            assert frames[-1].index == 9 and frames[-1].time == pytest.approx(0.36, abs=0.002)
            assert frames[-1].duration * reader.info.time_base == pytest.approx(3.0, abs=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv"])
def test_truncated_file_is_an_error_that_names_the_time(tmp_path: Path, suffix: str) -> None:
    muxer = {"movflags": "faststart"} if suffix == ".mp4" else {}
    options = {"g": "10", "crf": "5"}
    path = make(Clip(tmp_path / f"whole{suffix}", count=100, options=options, muxer=muxer, audio=[("aac", 440)]))
    data = path.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: len(data) * 6 // 10])
    got = []
    with VideoReader(cut) as reader, pytest.raises(MediaError, match="damaged after") as error:
        got.extend(frame.index for frame in reader.frames())
    assert 20 < len(got) < 90
    text = one_line(error)
    seconds = float(text.split("damaged after ")[1].split(" s")[0])
    assert cut.name in text and seconds == pytest.approx(len(got) / 25, abs=0.2)
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 100


def test_truncated_before_the_index_cannot_be_opened(tmp_path: Path) -> None:
    path = make(Clip(tmp_path / "a.mp4"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MediaError, match="not a media file"):
        VideoReader(path)


def test_video_shorter_than_its_sound_is_whole(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        clip = Clip(tmp_path / f"a{suffix}", audio=[("aac", 440)], audio_seconds=4.0)
        with VideoReader(make(clip)) as reader:
            assert len(list(reader.frames())) == 25


def test_one_bad_packet_is_survived_many_are_not(tmp_path: Path) -> None:
    path = make(Clip(tmp_path / "a.mp4", count=100, options={"g": "10", "crf": "5"}))
    spoil_packets(path, range(43, 44))
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) >= 95
    spoil_packets(path, range(30, 99))
    with VideoReader(path) as reader, pytest.raises(MediaError, match="damaged after"):
        list(reader.frames())


# ------------------------------------------------------------------------------------------ speech


def test_speech_is_the_mean_of_channels_at_the_wanted_rate(tmp_path: Path) -> None:
    t = np.arange(44100) / 44100
    stereo = np.stack([0.6 * np.sin(2 * np.pi * 300 * t), 0.2 * np.sin(2 * np.pi * 300 * t)], -1)
    path = write_wav(tmp_path / "a.wav", stereo, 44100)
    speech = read_speech(path)
    assert speech.dtype == np.float32 and speech.shape == (16000,)
    want = 0.4 * np.sin(2 * np.pi * 300 * np.arange(16000) / 16000)
    assert np.abs(speech - want)[200:-200].max() < 0.01
    info = probe_speech(path)
    assert (info.rate, info.channels, info.layout, info.codec) == (44100, 2, "stereo", "pcm_s16le")
    assert info.seconds == pytest.approx(1.0)


@pytest.mark.parametrize(
    "name, codec", [("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus")]
)
def test_speech_starts_where_it_starts(tmp_path: Path, name: str, codec: str) -> None:
    with av.open(str(tmp_path / name), "w", format="ogg" if name == "a.ogg" else None) as out:
        track = out.add_stream(codec, rate=48000)
        track.codec_context.layout = "mono"
        track.codec_context.open()
        encode_samples(out, track, clicks(1.0, 48000, (0.25, 0.75)), 48000)
    np.testing.assert_allclose(onsets(read_speech(tmp_path / name), 16000), [0.25, 0.75], atol=0.004)


def test_speech_of_a_video_starts_with_the_file(tmp_path: Path) -> None:
    # Sound from 0, video from 0.5 s and the other way round: both are on one timeline.
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        track = out.add_stream("flac", rate=16000)
        track.codec_context.layout = "mono"
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(picture(number, 128, 96), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        track.codec_context.open()
        encode_samples(out, track, clicks(0.5, 16000, (0.1,)), 16000, clock=8000)
        out.mux(video.encode(None))
    speech = read_speech(path)
    np.testing.assert_allclose(onsets(speech, 16000), [0.6], atol=0.003)
    assert not speech[:7000].any()


def test_errors_of_speech(tmp_path: Path) -> None:
    silent = make(Clip(tmp_path / "silent.mp4"))
    nothing = write_wav(tmp_path / "nothing.wav", np.zeros(0, np.float32), 16000)
    for path, words in {
        tmp_path / "missing.wav": "does not exist",
        tmp_path: "is a folder",
        silent: "no sound",
        nothing: "0 samples|not a media file",
    }.items():
        with pytest.raises(MediaError, match=words) as error:
            read_speech(path)
        one_line(error)


# ------------------------------------------------------------------------------------------ real clips


@pytest.mark.real_clips
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with real clips is not there")
def test_real_clips_read_whole() -> None:
    for name in (
        "neha_sherin_timit_sx65.mp4",
        "lipnet_pytorch_s31__bgiq6p.mpg",
        "video_retalking_face__1.mp4",
    ):
        with VideoReader(SHARED / name) as reader:
            frames = [frame.time for frame in reader.frames()]
        assert len(frames) == pytest.approx(reader.info.estimated_frames, abs=1)
        assert (np.diff(frames) > 0).all()
        assert read_speech(SHARED / name).size / 16000 == pytest.approx(frames[-1], abs=0.3)
