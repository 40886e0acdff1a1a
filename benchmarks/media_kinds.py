"""Made inputs for the fuzzing: sound files of odd clocks, orientations, containers and codecs.

They are not damaged, so they have to be read, and read rightly.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random

import av
import numpy as np

STARTS = [1.0, 1.4, 9.0, 20.0, 7200.0, (1 << 33) / 90000 - 0.5, (1 << 33) / 90000 - 90.0]
"""Seconds at which a transport stream may begin on its clock; the last two run over."""
QUIET = [(0.1, 0.3), (0.52, 0.9)]
"""Where holes and repeated stamps may lie: not at the flash and the click."""
IN_STEP = 0.03
"""Seconds by which flash and click may lie apart, as read: sound is cut into frames of 21 and 24 ms."""
LONGEST = 40.0
"""Seconds that no case lasts."""

# ---------------------------------------------------------------------------------------------- clocks


def clock_seeds(folder: Path) -> list[Path]:
    """A flash and a click in three containers."""
    from helpers.event_clips import flash_and_click

    return [flash_and_click(folder / f"c{suffix}", 1.0) for suffix in (".ts", ".mkv", ".mov")]


def restamped(data: bytes, name: str, random: Random) -> bytes:
    """The same packets with holes, repeated stamps and other starts; transport streams are joined as well."""
    suffix = Path(name).suffix
    parts = random.choice([1, 2, 2, 3]) if suffix == ".ts" else 1
    return b"".join(_with_other_times(data, suffix, random) for _ in range(parts))


def _with_other_times(data: bytes, suffix: str, random: Random) -> bytes:
    start = random.choice(STARTS if suffix == ".ts" else [0.0, 0.0, 0.5, 100.0])
    holes = [(_quiet(random), random.choice([0.05, 0.3, 1.0, 5.0])) for _ in range(random.choice([0, 1, 1, 2]))]
    # The other containers take no repeated decoding times.
    repeats = [round(_quiet(random) * 25) / 25 - 0.001] if suffix == ".mkv" and random.random() < 0.5 else []

    def moved(seconds: float, video: bool) -> float:
        for place in repeats if video else ():
            seconds = place if place <= seconds < place + 0.06 else seconds
        return start + seconds + sum(length for place, length in holes if seconds >= place)

    formats = {".ts": "mpegts", ".mkv": "matroska", ".mov": "mov"}
    result = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as given,
        av.open(result, "w", format=formats[suffix], container_options={"avoid_negative_ts": "disabled"}) as out,
    ):
        streams = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        packets = [packet for packet in given.demux() if packet.size]
        for packet in packets:
            video = packet.stream.type == "video"
            times = [float(ticks * packet.time_base) - 1.0 for ticks in (packet.pts, packet.dts)]
            packet.pts, packet.dts = (round(moved(time, video) / packet.time_base) for time in times)
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return result.getvalue()


def _quiet(random: Random) -> float:
    return random.uniform(*random.choice(QUIET))


def load_clock(path: Path, out: Path) -> None:
    """All of it is shown, in step with its sound; and so it is in a copy."""
    from personatalk.media.options import EncodeOptions
    from personatalk.media.reader import VideoReader
    from personatalk.media.writer import VideoWriter

    with av.open(str(path)) as container:
        count = sum(packet.size > 0 for packet in container.demux(video=0))
    with _MustWork():
        _check_in_step(path, count)
        made = out / "o.mkv"
        with (
            VideoReader(path) as reader,
            VideoWriter(made, reader.info, None, EncodeOptions(preset="ultrafast")) as writer,
        ):
            for frame in reader.frames():
                writer.write(frame)
        _check_in_step(made, count)


def _check_in_step(path: Path, count: int) -> None:
    from helpers.media_clips import onsets

    from personatalk.media.audio import read_speech
    from personatalk.media.reader import VideoReader

    with VideoReader(path) as reader:
        shown = [(frame.time, frame.rgb().mean() > 128) for frame in reader.frames()]
    times = np.array([time for time, _ in shown])
    assert len(times) == count, f"{len(times)} of {count} frames"
    assert (np.diff(times) > 0.001).all(), f"frames of {np.diff(times).min():.5f} s"
    assert times[0] > -0.05 and times[-1] < LONGEST, f"from {times[0]:.2f} s to {times[-1]:.2f} s"
    seen, heard = [time for time, white in shown if white], onsets(read_speech(path), 16000)
    assert len(seen) == len(heard), f"{len(seen)} flashes, {len(heard)} clicks"
    apart = np.abs(np.array(seen) - heard)
    assert apart.max() < IN_STEP, f"{apart.max():.3f} s apart"


class _MustWork:
    """A block in which a refusal is a defect."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from personatalk.errors import PersonaTalkError

        if isinstance(error, PersonaTalkError):
            raise AssertionError(f"refused: {error}") from error


# ---------------------------------------------------------------------------------------------- orientations


def oriented_seeds(folder: Path) -> list[Path]:
    """A frame in several sizes and pixel formats; QuickTime's display matrix is not the neutral one."""
    from helpers.media_clips import Clip, make

    kinds = [((64, 48), "yuv420p"), ((46, 80), "yuv420p10le"), ((33, 47), "yuv444p"), ((2, 40), "yuv420p")]
    return [
        make(Clip(folder / f"o{number}.mp4", count=2, size=size, pix_fmt=pix_fmt, clockwise=90))
        for number, (size, pix_fmt) in enumerate(kinds)
    ]


def reoriented(data: bytes, name: str, random: Random) -> bytes:
    """Another display matrix: mostly a quarter turn, with or without a mirror."""
    one = 1 << 16
    a, b, c, d = (random.choice([one, -one]) for _ in range(4))
    matrix = [a, 0, 0, 0, d, 0] if random.random() < 0.5 else [0, b, 0, c, 0, 0]
    if random.random() < 0.1:
        matrix = [random.choice([0, 1, one, -one, one // 2, (1 << 31) - 1, -(1 << 31)]) for _ in range(6)]
    place = data.index(b"tkhd") + 4 + 4 + 20 + 16  # flags, times and numbers, layer and volume
    words = [*matrix, random.choice([0, 64 << 16]), 0, 1 << 30]
    return data[:place] + b"".join(word.to_bytes(4, "big", signed=True) for word in words) + data[place + 36 :]


def load_oriented(path: Path, out: Path) -> None:
    """Every pixel is where the matrix puts it, and a patch as well."""
    from personatalk.media.pixels import to_rgb
    from personatalk.media.reader import VideoReader

    with _MustWork(), VideoReader(path) as reader:
        for frame in reader.frames():
            rgb, stored, matrix = frame.rgb(), to_rgb(frame.image), reader.info.display_matrix
            assert rgb.shape[1::-1] == reader.info.upright_size
            patch, mask = np.full((9, 7, 3), 128, np.uint8), np.ones((9, 7), np.float32)
            pasted = frame.pasted(patch, mask, 5, 3).rgb()[5:11, 7:11] @ np.array([0.299, 0.587, 0.114])
            error = np.abs(pasted - 128).max(initial=0)  # of the brightness: colour is shared by four pixels
            assert error <= 6, f"the patch is {error:.0f} grey levels off"
            if _is_quarter_turns(matrix):
                np.testing.assert_array_equal(rgb, _by_definition(stored, matrix))


def _corner(matrix: tuple[int, ...] | None) -> tuple[int, int, int, int]:
    a, b, c, d = (1 << 16, 0, 0, 1 << 16) if matrix is None else (matrix[i] for i in (0, 1, 3, 4))
    return a >> 16, b >> 16, c >> 16, d >> 16


def _is_quarter_turns(matrix: tuple[int, ...] | None) -> bool:
    """Return whether a matrix turns and mirrors by quarters, and neither scales nor shears."""
    a, b, c, d = (1, 0, 0, 1) if matrix is None else (matrix[i] / (1 << 16) for i in (0, 1, 3, 4))
    return [abs(value) for value in (a, b, c, d)] in ([1, 0, 0, 1], [0, 1, 1, 0])


def _by_definition(stored: np.ndarray, matrix: tuple[int, ...] | None) -> np.ndarray:
    """Move every pixel (x, y) to (a x + c y, b x + d y)."""
    a, b, c, d = _corner(matrix)
    y, x = np.indices(stored.shape[:2])
    to_x, to_y = a * x + c * y, b * x + d * y
    shown = np.zeros((np.ptp(to_y) + 1, np.ptp(to_x) + 1, 3), np.uint8)
    shown[to_y - to_y.min(), to_x - to_x.min()] = stored
    return shown


# ---------------------------------------------------------------------------------------------- containers and codecs

SOURCES = [
    ("a.mp4", "libx264", "yuv420p", "aac"),
    ("b.mp4", "mpeg4", "yuv420p", "aac"),
    ("c.mov", "prores_ks", "yuv422p10le", "pcm_s16le"),
    ("d.mov", "mjpeg", "yuvj420p", "pcm_s16le"),
    ("e.mov", "qtrle", "argb", "aac"),
    ("f.mkv", "ffv1", "yuv444p12le", "flac"),
    ("g.mkv", "libx265", "yuv420p10le", "libopus"),
    ("h.mkv", "libx264", "yuv444p", "ac3"),
    ("i.webm", "libvpx", "yuv420p", "libopus"),
    ("j.webm", "libvpx-vp9", "yuv420p", "libopus"),
    ("k.avi", "mpeg4", "yuv420p", "pcm_s16le"),
    ("l.avi", "libx264", "yuv420p", "libmp3lame"),
    ("m.avi", "rawvideo", "bgra", "pcm_s16le"),
    ("n.ts", "libx264", "yuv420p", "mp2"),
    ("o.ts", "mpeg2video", "yuv420p", "mp2"),
    ("p.mpg", "mpeg2video", "yuv420p", "mp2"),
    ("q.flv", "flv", "yuv420p", "libmp3lame"),
    ("r.gif", "gif", "rgb8", ""),
    ("s.wmv", "wmv2", "yuv420p", "libmp3lame"),
    ("t.nut", "ffvhuff", "rgb24", "pcm_f32le"),
]
"""File, video encoder, pixel format and audio encoder of the sources."""
OUTPUTS = [
    ".mp4",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".ts",
    ".mpg",
    ".flv",
    ".3gp",
    ".m4v",
    ".wmv",
    ".mxf",
    ".nut",
    ".gif",
]
OUTPUTS += [".ogv", ".asf", ".m4a", ".xyz", ""]
CODECS = ["libx264"] * 6 + ["libx265", "libvpx-vp9", "mpeg4", "ffv1", "prores_ks", "mjpeg", "aac", "nothing", ""]
AUDIO_CODECS = [None] * 6 + ["aac", "flac", "libopus", "mp2", "pcm_s16le", "libx264", "nothing"]


def combination_seed(folder: Path) -> list[Path]:
    """Videos with sound in as many formats; a case is a choice of one, and of an output."""
    from helpers.media_clips import Clip, make

    for number, (name, codec, pix_fmt, audio) in enumerate(SOURCES):
        size = [(64, 48), (48, 64), (176, 144)][number % 3]
        rate = 44100 if name.endswith((".flv", ".wmv")) else 48000
        tracks = [(audio, 300)] if audio else []
        options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
        make(
            Clip(
                folder / name,
                count=4,
                options=options,
                codec=codec,
                pix_fmt=pix_fmt,
                size=size,
                audio=tracks,
                audio_rate=rate,
            )
        )
    (folder / "case.json").write_text(json.dumps(["a.mp4", "a.mp4", ".mp4", "libx264", 20, "ultrafast", None]))
    return [folder / "case.json"]


def combined(data: bytes, name: str, random: Random) -> bytes:
    """Any source, speech, output and options."""
    video, speech = (random.choice(SOURCES)[0] for _ in range(2))
    crf, preset = random.choice([20, 20, 0, 51, 63, float("nan")]), random.choice(["ultrafast"] * 4 + ["quick"])
    choice = [video, speech, random.choice(OUTPUTS), random.choice(CODECS), crf, preset, random.choice(AUDIO_CODECS)]
    return json.dumps(choice).encode()


def load_combination(path: Path, out: Path) -> None:
    """What is not refused in one line is written, and is read again frame by frame."""
    from personatalk.errors import PersonaTalkError
    from personatalk.media.options import EncodeOptions

    video, speech, suffix, codec, crf, preset, audio_codec = json.loads(path.read_bytes())
    output = out / f"o{suffix}"
    try:
        options = EncodeOptions(codec=codec, crf=crf, preset=preset, audio_codec=audio_codec)
        count = _copied(path.parent / video, path.parent / speech, output, options)
    except PersonaTalkError as error:
        assert not list(out.iterdir()), "something was left"
        raise type(error)(f"{path}: {error}") from error
    with av.open(str(output)) as made:
        assert len(list(made.decode(video=0))) == count, "frames were lost"


def _copied(video: Path, speech: Path, output: Path, options: object) -> int:
    """Write a video as a dub does, and return the number of its frames."""
    from personatalk.media.preflight import check_output, check_source
    from personatalk.media.probe import probe_speech
    from personatalk.media.reader import VideoReader
    from personatalk.media.segments import JobFolder
    from personatalk.media.writer import resumable_writer

    check_output(output, [video, speech])
    probe_speech(speech)
    with VideoReader(video) as reader:
        check_source(reader.info, output, options.codec)  # type: ignore[attr-defined]
        count = 0
        with (
            JobFolder(output, {}) as job,
            resumable_writer(job, output, reader.info, speech, options) as writer,  # type: ignore[arg-type]
        ):
            for frame in reader.frames():
                writer.write(frame)
                count += 1
    return count
