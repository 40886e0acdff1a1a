"""Writing of real files: what survives from the source, what the speech becomes, and what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.media_clips import Clip, clicks, encode_samples, make, onsets, picture, write_wav

from personatalk.errors import MediaError
from personatalk.media import encoding
from personatalk.media.audio import read_speech
from personatalk.media.codecs import choose_layout, choose_pix_fmt, choose_rate
from personatalk.media.options import EncodeOptions
from personatalk.media.preflight import check_output, check_source
from personatalk.media.probe import probe_speech, probe_video
from personatalk.media.reader import VideoReader
from personatalk.media.writer import VideoWriter

FAST = EncodeOptions(preset="ultrafast")
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "clips" / "val"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", clicks(0.9, 22050, (0.2, 0.6)), 22050)


def dub(
    source: Path, output: Path, speech: Path | None, options: EncodeOptions = FAST, stop: int | None = None, **more: Any
) -> VideoWriter:
    """Write all frames of a video as they are."""
    with VideoReader(source) as reader, VideoWriter(output, reader.info, speech, options, **more) as writer:
        for frame in reader.frames(0, stop):
            writer.write(frame)
    return writer


def moments(path: Path) -> list[tuple[Fraction, Fraction]]:
    """(start, duration) of each frame on the file's own clock, in seconds."""
    with VideoReader(path) as reader:
        base = reader.info.time_base
        return [(frame.pts * base, frame.duration * base) for frame in reader.frames()]


def leftovers(folder: Path) -> list[str]:
    return [name.name for name in folder.iterdir() if name.name.startswith(".")]


# ------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(50)])
@pytest.mark.parametrize("source", [".mp4", ".mkv"])
@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv", ".webm"])
def test_constant_rate(tmp_path: Path, speech: Path, fps: Fraction, source: str, target: str) -> None:
    path = make(Clip(tmp_path / f"a{source}", fps=fps, count=12, size=(64, 48)))
    dub(path, tmp_path / f"out{target}", speech)
    check_moments(path, tmp_path / f"out{target}")
    rate = probe_video(tmp_path / f"out{target}").average_fps
    assert float(rate) == pytest.approx(float(fps), rel=2e-3)


def check_moments(source: Path, output: Path, last: bool = True) -> None:
    """Frame times are equal where the container's tick allows it, else to the nearest tick."""
    before, after = moments(source), moments(output)
    assert len(before) == len(after)
    tick, own = probe_video(output).time_base, probe_video(source).time_base
    exact = tick <= own
    for (a, _), (b, _) in zip(before, after, strict=True):
        assert abs(a - b) <= (0 if exact else tick / 2)
    # The others end where the next begins, whatever their packets say.
    assert not last or abs(before[-1][1] - after[-1][1]) <= max(tick, own)


UNEVEN = [0, 20, 100, 140, 300, 310, 330, 700]


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv", ".webm"])
def test_variable_rate_and_late_start(tmp_path: Path, speech: Path, target: str) -> None:
    clip = Clip(
        tmp_path / "a.mp4",
        count=8,
        pts=[p + 240 for p in UNEVEN],
        time_base=Fraction(1, 1000),
        audio=[("aac", 440)],
    )
    out = tmp_path / f"out{target}"
    dub(make(clip), out, speech)
    check_moments(clip.path, out)
    assert probe_video(out).start_seconds == pytest.approx(0.0, abs=0.01)
    # WebM counts Opus from the end of its run-in, some milliseconds: compare with the video beside it.
    shift = 0.24 - first_time(out)
    assert abs(shift) < 0.01
    np.testing.assert_allclose(np.add(onsets(read_speech(out), 16000), shift), [0.2, 0.6], atol=0.003)


def first_time(path: Path) -> float:
    with VideoReader(path) as reader:
        return next(reader.frames()).time


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_mpeg_with_a_late_clock(tmp_path: Path, speech: Path, target: str) -> None:
    source = make(Clip(tmp_path / "a.mpg", codec="mpeg2video", audio=[("mp2", 440)]))
    out = tmp_path / f"out{target}"
    dub(source, out, speech)
    check_moments(source, out)
    # The speech starts with the file, wherever its clock starts.
    np.testing.assert_allclose(onsets(read_speech(out), 16000), [0.2, 0.6], atol=0.005)
    assert first_time(out) == pytest.approx(first_time(source), abs=0.002)


@pytest.mark.parametrize("target", [".avi", ".mpg", ".ts", ".m4v", ".flv"])
def test_other_containers(tmp_path: Path, speech: Path, target: str) -> None:
    source = make(Clip(tmp_path / "a.mp4", audio=[("aac", 440)]))
    out = tmp_path / f"out{target}"
    dub(source, out, speech)
    starts = [float(start) for start, _ in moments(out)]
    np.testing.assert_allclose(np.diff(starts), 0.04, atol=0.002)
    assert len(starts) == 25
    np.testing.assert_allclose(onsets(read_speech(out), 16000), [0.2, 0.6], atol=0.03)


def test_frames_of_wmv_come_in_order(tmp_path: Path, speech: Path) -> None:
    """ASF keeps the times of decoding only. Its last packet has no length, and players guess when it is shown."""
    source = make(Clip(tmp_path / "a.mp4", audio=[("aac", 440)]))
    dub(source, tmp_path / "out.wmv", speech, EncodeOptions(preset="medium"))
    starts = [float(start) for start, _ in moments(tmp_path / "out.wmv")]
    np.testing.assert_allclose(np.diff(starts)[:-1], 0.04, atol=0.002)
    assert len(starts) == 25


# ------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
def test_rotation_aspect_and_pictures(tmp_path: Path, speech: Path, clockwise: int, target: str) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=3, clockwise=clockwise, aspect=Fraction(4, 3)))
    out = tmp_path / f"out{target}"
    dub(source, out, speech, EncodeOptions(preset="ultrafast", crf=1))
    before, after = probe_video(source), probe_video(out)
    assert after.orientation.rotation == before.orientation.rotation == clockwise
    assert (after.width, after.height) == (before.width, before.height)
    assert after.sample_aspect_ratio == Fraction(4, 3)
    with VideoReader(source) as a, VideoReader(out) as b:
        for x, y in zip(a.frames(), b.frames(), strict=True):
            assert np.abs(x.rgb().astype(int) - y.rgb()).mean() < 1.5


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuvj420p", "gray"])
def test_pixel_format(tmp_path: Path, speech: Path, pix_fmt: str) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=2, pix_fmt=pix_fmt))
    dub(source, tmp_path / "out.mp4", speech)
    assert probe_video(tmp_path / "out.mp4").pix_fmt == probe_video(source).pix_fmt


@pytest.mark.parametrize("colours", [(1, 1, 1, 1), (6, 2, 6, 6), (9, 1, 9, 16)], ids=["bt709", "bt601-full", "hdr"])
@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_colours(tmp_path: Path, speech: Path, colours: tuple[int, int, int, int], target: str) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=2, colours=colours, pix_fmt="yuv420p10le"))
    out = tmp_path / f"out{target}"
    dub(source, out, speech, EncodeOptions(preset="ultrafast", crf=1))
    info = probe_video(out)
    assert (info.colorspace, info.color_range, info.color_primaries, info.color_trc) == colours
    with VideoReader(source) as a, VideoReader(out) as b:
        error = np.abs(next(a.frames()).rgb().astype(int) - next(b.frames()).rgb())
    assert error.mean() < 1


def test_pixel_format_choice() -> None:
    assert choose_pix_fmt("libx264", "yuv422p", 64, 48) == ("yuv422p", "")
    assert choose_pix_fmt("libx264", "yuv420p", 63, 48)[0] == "yuv444p"
    assert choose_pix_fmt("libx264", "yuv411p", 64, 48)[0] in ("yuv422p", "yuv444p")
    assert choose_pix_fmt("libx264", "yuv444p12le", 64, 48) == ("yuv444p10le", "depth")
    assert choose_pix_fmt("libvpx-vp9", "yuvj420p", 64, 48) == ("yuv420p", "")
    assert choose_pix_fmt("libx264", "rgb24", 64, 48)[0] == "yuv444p"
    assert choose_pix_fmt("libx264", "gray", 63, 47) == ("gray", "")


@pytest.mark.parametrize(("pix_fmt", "codec"), [("yuv420p", "libvpx-vp9"), ("yuv444p", "libx264")])
def test_odd_size_survives(tmp_path: Path, speech: Path, pix_fmt: str, codec: str) -> None:
    source = make(Clip(tmp_path / "a.mkv", count=3, size=(321, 241), codec=codec, pix_fmt=pix_fmt))
    dub(source, tmp_path / "out.mp4", speech)
    assert probe_video(tmp_path / "out.mp4").upright_size == (321, 241)
    with VideoReader(source) as a, VideoReader(tmp_path / "out.mp4") as b:
        assert np.abs(next(a.frames()).rgb().astype(int) - next(b.frames()).rgb()).mean() < 2


def test_rgb_source(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mkv", count=2, codec="ffv1", pix_fmt="bgr0"))
    dub(source, tmp_path / "out.mp4", speech, EncodeOptions(preset="ultrafast", crf=1))
    with VideoReader(source) as a, VideoReader(tmp_path / "out.mp4") as b:
        assert b.info.colorspace == 6
        error = np.abs(next(a.frames()).rgb().astype(int) - next(b.frames()).rgb())
    assert error.mean() < 2.5


def test_pasted_frames_are_written(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=3, clockwise=90))
    patch, mask = np.full((30, 30, 3), (0, 255, 0), np.uint8), np.ones((30, 30), np.float32)
    with VideoReader(source) as reader, VideoWriter(tmp_path / "o.mp4", reader.info, speech, FAST) as writer:
        for frame in reader.frames():
            writer.write(frame.pasted(patch, mask, 20, 40))
    with VideoReader(tmp_path / "o.mp4") as reader:
        rgb = next(reader.frames()).rgb()[48:62, 28:42].astype(int)
    assert np.abs(rgb - (0, 255, 0)).max() < 25


HDR10 = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


@pytest.fixture
def hdr_clip(tmp_path: Path) -> Path:
    params = {"x264-params": f"mastering-display={HDR10}:cll=1000,400"}
    return make(Clip(tmp_path / "hdr.mp4", count=3, colours=(9, 1, 9, 16), pix_fmt="yuv420p10le", options=params))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_hdr_metadata_is_kept(tmp_path: Path, speech: Path, hdr_clip: Path, codec: str, target: str) -> None:
    assert (probe_video(hdr_clip).mastering_display, probe_video(hdr_clip).light_level) == (HDR10, (1000, 400))
    out = tmp_path / f"out{target}"
    writer = dub(hdr_clip, out, speech, EncodeOptions(codec=codec, preset="ultrafast"))
    info = probe_video(out)
    assert (info.mastering_display, info.light_level) == (HDR10, (1000, 400))
    assert (info.pix_fmt, info.color_trc) == ("yuv420p10le", 16)
    assert writer.warnings == []


def test_the_file_does_not_depend_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=12))
    dub(source, tmp_path / "fast.mp4", None, EncodeOptions())
    monkeypatch.setattr(encoding, "REPRODUCIBLE", f"{encoding.REPRODUCIBLE}:asm=0")
    dub(source, tmp_path / "plain.mp4", None, EncodeOptions())
    assert (tmp_path / "fast.mp4").read_bytes() == (tmp_path / "plain.mp4").read_bytes()


def test_hdr_metadata_that_is_lost_is_reported(tmp_path: Path, speech: Path, hdr_clip: Path) -> None:
    warnings = dub(hdr_clip, tmp_path / "out.webm", speech, EncodeOptions(codec="libvpx-vp9")).warnings
    assert any("HDR mastering display" in warning for warning in warnings)
    with VideoReader(hdr_clip) as reader:
        moving = replace(reader.info, dynamic_hdr=True)
        with VideoWriter(tmp_path / "out.mp4", moving, speech, FAST) as writer:
            for frame in reader.frames():
                writer.write(frame)
    assert any("HDR10+" in warning for warning in writer.warnings)


def test_twelve_bits_become_ten_with_a_warning(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mkv", count=2, codec="ffv1", pix_fmt="yuv420p12le"))
    (warning,) = dub(source, tmp_path / "out.mp4", speech).warnings
    assert "yuv420p12le" in warning and "depth" in warning
    assert probe_video(tmp_path / "out.mp4").pix_fmt == "yuv420p10le"
    assert dub(source, tmp_path / "out.mkv", speech, EncodeOptions(codec="ffv1")).warnings == []
    assert probe_video(tmp_path / "out.mkv").pix_fmt == "yuv420p12le"


def test_interlaced_video_is_refused(tmp_path: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=3, options={"x264-params": "tff=1"}))
    with pytest.raises(MediaError, match=r"a\.mp4 is interlaced.*deinterlace it"):
        check_source(probe_video(source), tmp_path / "out.mp4", "libx264")
    check_source(probe_video(make(Clip(tmp_path / "b.mp4", count=3))), tmp_path / "out.mp4", "libx264")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(("codec", "target"), [("prores_ks", ".mov"), ("ffv1", ".mkv")])
def test_transparency_is_kept_where_the_codec_has_it(tmp_path: Path, speech: Path, codec: str, target: str) -> None:
    source = make(Clip(tmp_path / "a.mkv", count=2, codec="ffv1", pix_fmt="yuva444p10le"))
    check_source(probe_video(source), tmp_path / f"out{target}", codec)
    dub(source, tmp_path / f"out{target}", speech, EncodeOptions(codec=codec))
    assert probe_video(tmp_path / f"out{target}").pix_fmt.startswith("yuva444p1")


def test_transparency_is_refused_where_it_would_be_lost(tmp_path: Path) -> None:
    source = probe_video(with_alpha(tmp_path / "a.mkv", "ffv1", [255, 254]))
    with pytest.raises(MediaError, match="transparency, which libx264 cannot hold; use --codec prores_ks"):
        check_source(source, tmp_path / "out.mp4", "libx264")
    layered = replace(source, pix_fmt="yuv420p")  # VP9's transparency is a second video that is not decoded
    with pytest.raises(MediaError, match="layer that is not read"):
        check_source(layered, tmp_path / "out.mp4", "libx264")
    assert [name.name for name in tmp_path.iterdir()] == ["a.mkv"]


def with_alpha(path: Path, codec: str, alphas: list[int]) -> Path:
    """Write a frame for each alpha value, which one of its pixels has; the others hide all behind them."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "argb" if codec == "qtrle" else "bgra"
        for number, alpha in enumerate(alphas):
            bgra = np.dstack([picture(number, 64, 48), np.full((48, 64), 255, np.uint8)])
            bgra[40, 50, 3] = alpha
            out.mux(stream.encode(av.VideoFrame.from_ndarray(bgra, format="bgra").reformat(format=stream.pix_fmt)))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.mov", "qtrle"), ("a.avi", "rawvideo")])
def test_a_layer_for_transparency_that_hides_nothing_is_left_out(
    tmp_path: Path, speech: Path, name: str, codec: str
) -> None:
    source = with_alpha(tmp_path / name, codec, [255] * 4)
    assert probe_video(source).alpha
    check_source(probe_video(source), tmp_path / "out.mp4", "libx264")
    assert not any("alpha" in warning for warning in dub(source, tmp_path / "out.mp4", speech).warnings)
    with VideoReader(source) as given, VideoReader(tmp_path / "out.mp4") as made:
        for one, other in zip(given.frames(), made.frames(), strict=True):
            assert np.abs(one.rgb().astype(int) - other.rgb()).mean() < 8


def test_an_opaque_gif_is_no_transparent_video(tmp_path: Path) -> None:
    source = probe_video(
        make(Clip(tmp_path / "a.gif", count=5, codec="gif", pix_fmt="rgb8", time_base=Fraction(1, 25)))
    )
    assert source.alpha
    check_source(source, tmp_path / "out.mp4", "libx264")


# ------------------------------------------------------------------------------------------ other streams


def rich(path: Path, subtitles: str) -> Path:
    return make(
        Clip(
            path,
            count=50,
            audio=[("aac", 440), ("aac", 880)],
            subtitles=subtitles,
            chapters=True,
            metadata={"title": "A film", "artist": "Somebody"},
        )
    )


def pitch(path: Path, track: int) -> float:
    """The loudest frequency of a sound track, in Hz."""
    with av.open(str(path)) as source:
        stream = source.streams.audio[track]
        samples = np.concatenate([f.to_ndarray()[0] for f in source.decode(stream)]).astype(float)
        spectrum = np.abs(np.fft.rfft(samples))
        return float(np.argmax(spectrum) * stream.codec_context.sample_rate / len(samples))


def language_of(path: Path) -> str | None:
    """Of the subtitles; QuickTime itself knows no "deu"."""
    with av.open(str(path)) as source:
        language: str | None = source.streams.subtitles[0].metadata.get("language")
    assert language == "deu" or path.suffix == ".mov"
    return language


def subtitle_texts(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as source:
        stream = source.streams.subtitles[0]
        found = []
        for packet in source.demux(stream):
            text = bytes(packet)
            if b"Hallo" in text:
                found.append((float(packet.pts * packet.time_base), text[text.index(b"Hallo") :]))
        return found


@pytest.mark.parametrize(
    "source, subtitles, target",
    [
        (".mp4", "mov_text", ".mp4"),
        (".mp4", "mov_text", ".mkv"),
        (".mkv", "srt", ".mkv"),
        (".mkv", "srt", ".mp4"),
        (".mkv", "ass", ".mp4"),
        (".mov", "mov_text", ".mov"),
    ],
)
def test_everything_else_is_kept(tmp_path: Path, speech: Path, source: str, subtitles: str, target: str) -> None:
    path = rich(tmp_path / f"a{source}", subtitles)
    out = tmp_path / f"out{target}"
    writer = dub(path, out, speech, extra_metadata={"personatalk_version": "1.2", "comment": "dubbed"})
    assert writer.warnings == []
    with av.open(str(out)) as file:
        kinds = [stream.type for stream in file.streams if stream.type != "data"]
        assert kinds == ["video", "audio", "audio", "subtitle"]
        tags = {key.lower(): value for key, value in file.metadata.items()}
        assert tags["title"] == "A film" and tags["artist"] == "Somebody"
        assert tags["personatalk_version"] == "1.2" and tags["comment"] == "dubbed"
        new, other = file.streams.audio
        assert other.metadata["language"] == "fra" and "language" not in {
            key for key in new.metadata if new.metadata[key] == "eng"
        }
        assert bool(new.disposition & av.stream.Disposition.default)
        assert not other.disposition & av.stream.Disposition.default
        assert file.streams.subtitles[0].metadata.get("language") == language_of(path)
        titles = [chapter["metadata"]["title"] for chapter in file.chapters()]
        ends = [float(chapter["end"] * chapter["time_base"]) for chapter in file.chapters()]
    assert titles == ["first", "second"] and ends == [0.5, 1.0]
    assert pitch(out, 1) == pytest.approx(880, abs=3)
    [(moment, text)] = subtitle_texts(out)
    assert moment == pytest.approx(0.2, abs=0.002) and text.startswith(b"Hallo Welt")
    np.testing.assert_allclose(onsets(read_speech(out), 16000), [0.2, 0.6], atol=0.005)


def test_copied_sound_is_bit_exact_and_in_time(tmp_path: Path, speech: Path) -> None:
    path = rich(tmp_path / "a.mkv", "srt")
    dub(path, tmp_path / "out.mp4", speech)

    def packets(name: Path) -> list[tuple[float, bytes]]:
        with av.open(str(name)) as file:
            return [(float(p.pts * p.time_base), bytes(p)) for p in file.demux(file.streams.audio[1]) if p.size]

    before, after = packets(path), packets(tmp_path / "out.mp4")
    assert [data for _, data in before] == [data for _, data in after]
    np.testing.assert_allclose([t for t, _ in after], [t for t, _ in before], atol=0.0011)


def test_without_speech_all_sound_is_kept(tmp_path: Path) -> None:
    path = rich(tmp_path / "a.mp4", "mov_text")
    dub(path, tmp_path / "out.mp4", None)
    assert pitch(tmp_path / "out.mp4", 0) == pytest.approx(440, abs=3)
    assert pitch(tmp_path / "out.mp4", 1) == pytest.approx(880, abs=3)


def test_default_track_is_the_one_replaced(tmp_path: Path, speech: Path) -> None:
    path = tmp_path / "a.mkv"
    rich(path, "srt")
    marked = tmp_path / "marked.mkv"
    with av.open(str(path)) as source, av.open(str(marked), "w") as out:
        copies = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        for stream in source.streams.audio:
            copies[stream.index].disposition = 0
        copies[source.streams.audio[1].index].disposition = int(av.stream.Disposition.default)
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    dub(marked, tmp_path / "out.mkv", speech)
    assert pitch(tmp_path / "out.mkv", 1) == pytest.approx(440, abs=3)


def test_what_the_container_cannot_hold_is_reported(tmp_path: Path, speech: Path) -> None:
    path = rich(tmp_path / "a.mkv", "srt")
    writer = dub(path, tmp_path / "out.webm", speech)
    assert any("left out" in line and "aac" in line for line in writer.warnings)
    assert any("libx264" in line for line in writer.warnings)
    assert all("\n" not in line for line in writer.warnings)
    assert probe_video(tmp_path / "out.webm").codec == "vp9"
    [(moment, text)] = subtitle_texts(tmp_path / "out.webm")  # converted to WebVTT
    assert moment == pytest.approx(0.2, abs=0.002) and text == b"Hallo Welt"


def test_attachments(tmp_path: Path, speech: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(make(Clip(tmp_path / "plain.mkv", count=5)))) as source, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0], opaque=True)
        out.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
    assert dub(path, tmp_path / "out.mkv", speech).warnings == []
    with av.open(str(tmp_path / "out.mkv")) as file:
        [attachment] = [stream for stream in file.streams if stream.type == "attachment"]
        assert attachment.metadata["filename"] == "font.ttf" and attachment.data == b"not really a font"
    assert "attachment" in dub(path, tmp_path / "out.mp4", speech).warnings[0]


def test_cover_picture(tmp_path: Path, speech: Path) -> None:
    covered = tmp_path / "covered.mp4"
    with av.open(str(make(Clip(tmp_path / "a.mp4")))) as source, av.open(str(covered), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0], opaque=True)
        cover = out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = int(av.stream.Disposition.attached_pic)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        image = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 77, np.uint8), format="rgb24")
        out.mux([*cover.encode(image), *cover.encode(None)])
    [warning] = dub(covered, tmp_path / "out.mp4", speech).warnings
    assert "cover" in warning and len(moments(tmp_path / "out.mp4")) == 25
    assert dub(covered, tmp_path / "out.mkv", speech).warnings == []
    with av.open(str(tmp_path / "out.mkv")) as file:
        main, cover = file.streams.video
        assert main.codec_context.name == "h264" and cover.codec_context.name == "png"
        assert bool(cover.disposition & av.stream.Disposition.attached_pic)
    again = dub(tmp_path / "out.mkv", tmp_path / "again.mkv", speech)
    assert again.warnings == []
    with av.open(str(tmp_path / "again.mkv")) as file:
        picture = next(packet for packet in file.demux(file.streams.video[1]) if packet.size)
        assert np.all(picture.decode()[0].to_ndarray() == 77)


def test_other_encoders(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mkv", count=5, pix_fmt="yuv420p10le", pts=[0, 1, 4, 5, 9]))
    out = tmp_path / "out.mp4"
    dub(source, out, speech, EncodeOptions(codec="libx265", preset="ultrafast", crf=10))
    assert (probe_video(out).codec, probe_video(out).pix_fmt) == ("hevc", "yuv420p10le")
    check_moments(source, out, last=False)  # MP4 keeps the length of the last frame in the file's order


def test_nothing_is_printed(tmp_path: Path, speech: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dub(rich(tmp_path / "a.mp4", "mov_text"), tmp_path / "out.mkv", speech)
    assert capfd.readouterr() == ("", "")


def test_cut_video_cuts_the_other_streams_too(tmp_path: Path, speech: Path) -> None:
    path = rich(tmp_path / "a.mkv", "srt")
    dub(path, tmp_path / "out.mkv", speech, stop=25, speech_seconds_limit=0.5)
    with av.open(str(tmp_path / "out.mkv")) as file:
        ends = [
            max(float((p.pts + (p.duration or 0)) * p.time_base) for p in file.demux(stream) if p.size)
            for stream in (file.streams.audio[1],)
        ]
    assert ends[0] == pytest.approx(1.0, abs=0.05)


def test_sound_longer_than_the_video_is_kept_whole(tmp_path: Path, speech: Path) -> None:
    clip = Clip(tmp_path / "a.mkv", audio=[("aac", 440), ("aac", 880)], audio_seconds=2.0)
    dub(make(clip), tmp_path / "out.mkv", speech)
    with av.open(str(tmp_path / "out.mkv")) as file:
        last = max(float(p.pts * p.time_base) for p in file.demux(file.streams.audio[1]) if p.size)
    assert last == pytest.approx(2.0, abs=0.05)


# ------------------------------------------------------------------------------------------ speech


def speech_file(path: Path, codec: str, rate: int = 48000) -> Path:
    with av.open(str(path), "w") as out:
        track = out.add_stream(codec, rate=rate)
        track.codec_context.layout = "mono"
        track.codec_context.open()
        encode_samples(out, track, clicks(0.9, rate, (0.2, 0.6)), rate)
    return path


@pytest.mark.parametrize(
    "name, codec, target, kept",
    [
        ("s.m4a", "aac", ".mp4", True),
        ("s.m4a", "aac", ".mkv", True),
        ("s.aac", "aac", ".mp4", True),
        ("s.mp3", "libmp3lame", ".mp4", False),
        ("s.mp3", "libmp3lame", ".mkv", True),
        ("s.flac", "flac", ".mkv", True),
        ("s.flac", "flac", ".mp4", False),
        ("s.webm", "libopus", ".webm", True),
        ("s.mp3", "libmp3lame", ".webm", False),
        ("s.m4a", "aac", ".avi", False),
    ],
)
def test_speech_is_copied_where_it_fits_and_always_in_time(
    tmp_path: Path, name: str, codec: str, target: str, kept: bool
) -> None:
    speech = speech_file(tmp_path / name, codec)
    source, out = make(Clip(tmp_path / "a.mp4", audio=[("aac", 440)])), tmp_path / f"out{target}"
    dub(source, out, speech)

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as file:
            return [bytes(packet) for packet in file.demux(audio=0) if packet.size]

    a, b = packets(speech), packets(out)
    same = sum(x in y or y in x for x, y in zip(a[::-1], b[::-1], strict=False)) > 0.9 * len(a)
    assert same == kept
    heard, said = onsets(read_speech(out), 16000), onsets(read_speech(speech), 16000)
    np.testing.assert_allclose(heard, said, atol=0.004 if target != ".avi" else 0.03)


@pytest.mark.parametrize("target, rate", [(".mp4", 22050), (".mkv", 22050), (".webm", 48000), (".mov", 22050)])
def test_speech_keeps_its_rate_and_channels(tmp_path: Path, target: str, rate: int) -> None:
    both = np.stack([clicks(0.5, 22050, (0.1,)), clicks(0.5, 22050, (0.3,))], -1)
    speech = write_wav(tmp_path / "s.wav", both, 22050)
    dub(make(Clip(tmp_path / "a.mp4")), tmp_path / f"out{target}", speech)
    info = probe_speech(tmp_path / f"out{target}")
    assert (info.rate, info.channels) == (rate, 2)


def test_flac_and_pcm_are_lossless(tmp_path: Path, speech: Path) -> None:
    for target in (".mkv", ".avi"):
        dub(make(Clip(tmp_path / "a.mp4")), tmp_path / f"out{target}", speech)
        before, after = read_speech(speech, 22050), read_speech(tmp_path / f"out{target}", 22050)
        np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize("target", [".mp4", ".mkv", ".webm"])
def test_speech_is_cut_at_the_limit(tmp_path: Path, target: str) -> None:
    rate = 48000
    tone = np.sin(2 * np.pi * 440 * np.arange(5 * rate) / rate) * 0.5
    speech = write_wav(tmp_path / "long.wav", tone, rate)
    out = tmp_path / f"out{target}"
    dub(make(Clip(tmp_path / "a.mp4")), out, speech, speech_seconds_limit=1.0)
    assert read_speech(out).size / 16000 == pytest.approx(1.0, abs=0.001 if target == ".mkv" else 0.03)
    dub(make(Clip(tmp_path / "a.mp4")), out, speech)
    assert read_speech(out).size / 16000 == pytest.approx(5.0, abs=0.03)


def test_speech_track_of_a_late_video(tmp_path: Path, speech: Path) -> None:
    # A sound track that starts 0.5 s after its video keeps that silence when it becomes the speech.
    late = tmp_path / "late.mkv"
    with av.open(str(late), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = out.add_stream("flac", rate=16000)
        track.codec_context.layout = "mono"
        track.codec_context.open()
        for number in range(25):
            image = av.VideoFrame(64, 48, "yuv420p")
            image.pts, image.time_base = number, Fraction(1, 25)
            out.mux(video.encode(image))
        encode_samples(out, track, clicks(0.5, 16000, (0.1,)), 16000, clock=8000)
        out.mux(video.encode(None))
    source = make(Clip(tmp_path / "a.mp4"))
    for target, limit in ((".mkv", None), (".mp4", None), (".mkv", 0.65)):
        dub(source, tmp_path / f"out{target}", late, speech_seconds_limit=limit)
        heard = read_speech(tmp_path / f"out{target}")
        np.testing.assert_allclose(onsets(heard, 16000), [0.6], atol=0.004)
    assert heard.size / 16000 == pytest.approx(0.65, abs=0.002)


def test_choices_for_speech() -> None:
    assert choose_rate("aac", 22050) == 22050
    assert choose_rate("aac", 192000) == 96000
    assert choose_rate("libopus", 44100) == 48000
    assert choose_rate("libopus", 16000) == 16000
    assert choose_rate("flac", 37800) == 37800
    assert choose_layout("mp2", "5.1", 6) == "stereo"
    assert choose_layout("aac", "5.1", 6) == "5.1"
    assert choose_layout("libopus", "5.1(side)", 6) == "5.1"
    assert choose_layout("libopus", "2.1", 3) == "stereo"
    assert choose_layout("flac", "hexadecagonal", 16) == "stereo"


# ------------------------------------------------------------------------------------------ refusals


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=1))
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to(source)
    os.link(source, tmp_path / "hard.mp4")
    (tmp_path / "dir").symlink_to(tmp_path)
    for output, words in {
        tmp_path / "none" / "out.mp4": "does not exist",
        tmp_path / "folder.mp4": "is a folder",
        source: "is the input",
        tmp_path / "link.mp4": "is the input",
        tmp_path / "hard.mp4": "is the input",
        tmp_path / "dir" / "a.mp4": "is the input",
        tmp_path / "out": "suffix",
        tmp_path / "out.xyz": "suffix",
        tmp_path / "out.wav": "cannot hold",
        tmp_path / "out.mp3": "cannot hold",
        tmp_path / "out.m4a": "cannot hold",
        tmp_path / "out.png": "cannot hold",
        tmp_path / "out.srt": "cannot hold",
    }.items():
        with pytest.raises(MediaError, match=words) as error:
            check_output(output, [source])
        assert "\n" not in str(error.value)
        with pytest.raises(MediaError, match=words), VideoWriter(output, probe_video(source), None, FAST):
            pass
    for suffix in (".mp4", ".MP4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg"):
        check_output(tmp_path / f"fine{suffix}", [source])
    assert not list(tmp_path.glob("fine*")) and not leftovers(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody may write to")
def test_folder_that_is_not_writable() -> None:
    with pytest.raises(MediaError, match="not writable"):
        check_output(Path("/proc/self/out.mp4"), [])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("existing", [True, False])
def test_interruption_leaves_nothing(tmp_path: Path, speech: Path, error: type[BaseException], existing: bool) -> None:
    source, out = make(Clip(tmp_path / "a.mp4")), tmp_path / "out.mp4"
    if existing:
        out.write_bytes(b"precious")
    with (
        pytest.raises(error),
        VideoReader(source) as reader,
        VideoWriter(out, reader.info, speech, FAST) as writer,
    ):
        for frame in reader.frames():
            writer.write(frame)
            assert len(leftovers(tmp_path)) == 1  # hidden, and beside the output
            if frame.index == 10:
                raise error
    assert not leftovers(tmp_path)
    assert out.exists() == existing and (not existing or out.read_bytes() == b"precious")


def test_output_appears_only_when_whole(tmp_path: Path, speech: Path) -> None:
    source, out = make(Clip(tmp_path / "a.mp4")), tmp_path / "out.mp4"
    out.write_bytes(b"old")
    with VideoReader(source) as reader, VideoWriter(out, reader.info, speech, FAST) as writer:
        for frame in reader.frames():
            writer.write(frame)
        assert out.read_bytes() == b"old"
    assert len(moments(out)) == 25 and not leftovers(tmp_path)


def test_index_is_at_the_front(tmp_path: Path, speech: Path) -> None:
    dub(make(Clip(tmp_path / "a.mp4")), tmp_path / "out.mp4", speech)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_writing_errors(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=3))
    info = probe_video(source)
    with pytest.raises(MediaError, match="no frame"), VideoWriter(tmp_path / "o.mp4", info, speech, FAST):
        pass
    with (
        pytest.raises(MediaError, match="no video encoder"),
        VideoWriter(tmp_path / "o.mp4", info, speech, EncodeOptions(codec="libnothing")),
    ):
        pass
    with (
        pytest.raises(MediaError, match="no sound"),
        VideoWriter(tmp_path / "o.mp4", info, source, FAST),
    ):
        pass
    with (
        VideoReader(source) as reader,
        pytest.raises(ValueError, match="not later"),
        VideoWriter(tmp_path / "o.mp4", info, speech, FAST) as writer,
    ):
        frame = next(reader.frames())
        writer.write(frame)
        writer.write(frame)
    assert not leftovers(tmp_path) and not (tmp_path / "o.mp4").exists()


LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from personatalk.errors import MediaError
from personatalk.media import encoding
from personatalk.media.reader import VideoReader
from personatalk.media.options import EncodeOptions
from personatalk.media.writer import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    with VideoReader({source!r}) as reader, VideoWriter(
        {output!r}, reader.info, {speech!r}, EncodeOptions(preset="ultrafast", crf=1)
    ) as writer:
        for frame in reader.frames():
            writer.write(frame)
except MediaError as error:
    print("MediaError", error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a matter of Unix")
@pytest.mark.parametrize("limit", [20_000, 300, 0.97])
@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_full_disk(tmp_path: Path, speech: Path, limit: float, target: str) -> None:
    noise = Clip(tmp_path / "a.mp4", count=50, size=(320, 240))
    source, out = make(noise), tmp_path / f"out{target}"
    if limit < 1:  # the disk gets full at the very end
        dub(source, out, speech, EncodeOptions(preset="ultrafast", crf=1))
        limit = int(out.stat().st_size * limit)
        out.unlink()
    code = LIMITED.format(root=str(ROOT), limit=limit, source=str(source), output=str(out), speech=str(speech))
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MediaError disk full") and "free" in done.stdout
    assert done.stdout.count("\n") == 1
    assert not leftovers(tmp_path) and not out.exists()


@pytest.mark.real_clips
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with real clips is not there")
def test_real_clips(tmp_path: Path) -> None:
    speech = SHARED / "neha_sherin_timit_sx65.mp4"
    for name in ("video_retalking_face__1.mp4", "lipnet_pytorch_s31__bgiq6p.mpg"):
        wanted = []
        with (
            VideoReader(SHARED / name) as reader,
            VideoWriter(tmp_path / "out.mp4", reader.info, speech, FAST) as writer,
        ):
            for frame in reader.frames(0, 40):
                wanted.append(frame.pts * reader.info.time_base)
                writer.write(frame)
        assert [start for start, _ in moments(tmp_path / "out.mp4")] == wanted
        want, got = read_speech(speech), read_speech(tmp_path / "out.mp4")
        np.testing.assert_allclose(got[: len(want)], want, atol=1e-6)  # copied, not encoded again
