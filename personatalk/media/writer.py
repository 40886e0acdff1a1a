"""Writing: the dubbed video, with everything else that its source held.

The output appears under its name only when it is whole: it is written to a hidden file beside it, which
is renamed at the end, or deleted when anything goes wrong.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import av

from ..errors import MediaError
from ..utils.files import DISK_FULL, temp_path
from .codecs import FRAME_CLOCK, choose_pix_fmt, choose_video_codec, kept_tags
from .options import EncodeOptions
from .pixels import convert_frame
from .preflight import check_output
from .probe import VideoInfo
from .reader import Frame
from .segments import JobFolder, write_packet
from .streams import CopiedStreams, SpeechStream

# ---------------------------------------------------------------------------------------------- checking


def write_error(output: Path, error: BaseException) -> MediaError:
    """Explain a failed write in one line."""
    if getattr(error, "errno", None) in DISK_FULL:
        free = shutil.disk_usage(output.parent).free / 1e6
        return MediaError(
            f"disk full (or file size limit reached) while writing {output}: free {free:.0f} MB; "
            "make room or name another folder"
        )
    reason = getattr(error, "strerror", None) or str(error)
    return MediaError(f"cannot write {output}: {reason}; name another output, container or codec")


# ---------------------------------------------------------------------------------------------- choosing


# ---------------------------------------------------------------------------------------------- sources


# ---------------------------------------------------------------------------------------------- writing


class _Segment:
    """A stretch of video that is being encoded into a job's folder.

    Args:
        job: The folder.
        encoder: A codec context of its own.
    """

    def __init__(self, job: JobFolder, encoder: Any) -> None:
        self.job, self.encoder = job, encoder
        self.notes: list[Any] = []
        self.path = job.folder / "packets"
        self._file = self.path.open("wb")

    def write(self, image: Any, note: Any) -> None:
        """Encode a picture."""
        self.notes.append(note)
        for packet in self.encoder.encode(image):
            write_packet(self._file, packet)

    def finish(self, number: int) -> None:
        """Write what the encoder still holds, and store the segment."""
        for packet in self.encoder.encode(None):
            write_packet(self._file, packet)
        self._file.close()
        self.job.store(number, self.notes, self.path)

    def close(self) -> None:
        """Give up."""
        self._file.close()


class VideoWriter:
    """Writes a dubbed video; use it in a `with` block, and `write` the frames in order.

    Attributes:
        warnings: What could not be kept from the source, one line each.
    """

    def __init__(
        self,
        output: Path | str,
        source: VideoInfo,
        speech: Path | str | None,
        options: EncodeOptions | None = None,
        *,
        speech_seconds_limit: float | None = None,
        extra_metadata: dict[str, str] | None = None,
        job: JobFolder | None = None,
        finish: Callable[[Path], None] | None = None,
    ) -> None:
        """Describe the output; files are opened when the `with` block is entered.

        Args:
            output: The file to write.
            source: The video whose frames are written, and whose other streams are kept.
            speech: The new sound track, which replaces the source's default one; None keeps all sound.
            options: How to encode.
            speech_seconds_limit: Cut the speech here, in seconds from its start.
            extra_metadata: Tags to add to the file.
            job: Where encoded segments are kept, so that a run can go on from them; see `resume`.
            finish: Called with the finished file before it gets its name, to change it in place; what it raises
                ends the run, and nothing is left.
        """
        self.output = Path(output)
        self.source = source
        self.speech = None if speech is None else Path(speech)
        self.options = options or EncodeOptions()
        self.limit = speech_seconds_limit
        self.extra_metadata = extra_metadata or {}
        self.job = job
        self._segment: _Segment | None = None
        self._finished_segments = 0
        self._last_dts: int | None = None
        self.finish = finish
        self.warnings: list[str] = []
        # In the job's folder, what a kill leaves is found and dropped by the next run.
        suffix = self.output.suffix
        self._temp = temp_path(self.output, suffix) if job is None else job.folder / f"output{suffix}"
        self._container: Any = None
        self._tracks: list[SpeechStream | CopiedStreams] = []
        self._durations: dict[int, int] = {}  # of the frames that are in the encoder, by pts
        self._last_pts: int | None = None
        self._end = 0.0  # where the last written frame ends, in seconds on the source's clock

    def __enter__(self) -> VideoWriter:
        check_output(self.output, [path for path in (self.source.path, self.speech) if path is not None])
        try:
            with self._explained():
                self._start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._explained():
                    self._finish()
        finally:
            self._discard()

    def resume(self, durations: Iterable[int]) -> list[Any]:
        """Take over the segments that the job's last run has finished; call it before the first `write`.

        Args:
            durations: Of all frames of the output, in order, in ticks of the source's time base.

        Returns:
            The notes of the frames taken over; the next frame to write is the one after these.
        """
        found: list[Any] = []
        if self.job is None:
            return found
        times = iter(durations)
        with self._explained():
            while (shown := self.job.shown(self._finished_segments)) is not None:
                # Packets come in decoding order, durations belong to frames as they are shown.
                for pts in shown:
                    duration = next(times)
                    self._keep_duration(pts, duration)
                    self._end = float(pts * self._clock + duration * self.source.time_base)
                notes, packets = self.job.load(self._finished_segments)
                self._append(packets)
                found += notes
                self._finished_segments += 1
        return found

    def write(self, frame: Frame, note: Any = None) -> None:
        """Encode a frame; its pts and duration, in ticks of the source's time base, are kept.

        Args:
            frame: The next frame.
            note: JSON-able; `resume` gives it back.

        Raises:
            MediaError: The disk is full, or the encoder or the container refuses.
            ValueError: The frame is not later than the one before it.
        """
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise ValueError(f"frame at {frame.pts} is not later than the one before it, {self._last_pts}")
        self._last_pts = frame.pts
        self._end = float((frame.pts + frame.duration) * self.source.time_base)
        self._keep_duration(frame.pts, frame.duration)
        with self._explained():
            if self.job is None:
                self._others_until(float(frame.pts * self.source.time_base))
                self._mux_video(self._video.encode(self._prepared(frame)))
                return
            if self._segment is None:
                self._segment = _Segment(self.job, self._encoder())
            self._segment.write(self._prepared(frame), note)
            if len(self._segment.notes) == self.job.length:
                self._end_segment()

    # ------------------------------------------------------------------------------------------ parts

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn FFmpeg's and the system's errors into MediaError."""
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise write_error(self.output, error) from error

    def _start(self) -> None:
        """Open the output and add all streams: video, speech, then the others in the source's order."""
        # QuickTime's own tag names are few; this flag lets any name through. The index goes to the front
        # so that the file plays while it downloads.
        quicktime = self.output.suffix.lower() in (".mp4", ".mov", ".m4v", ".3gp")
        flags = {"movflags": "use_metadata_tags+faststart"} if quicktime else {}
        self._container = av.open(str(self._temp), "w", container_options=flags)
        self._add_video()
        if self.speech is not None:
            start = self.source.start_seconds
            self._tracks.append(SpeechStream(self.speech, self._container, self.options, start, self.limit))
        copies = CopiedStreams(self.source, self._container, self.speech is not None, self.warnings)
        self._tracks.append(copies)
        video = copies.input.streams[self.source.stream_index]
        self._video.metadata.update(kept_tags(video.metadata))
        self._video.disposition = int(video.disposition)
        self._container.metadata.update(kept_tags(copies.input.metadata))
        self._container.metadata.update(self.extra_metadata)
        if copies.input.chapters():
            self._container.set_chapters(copies.input.chapters())
        self._container.start_encoding()

    def _keep_duration(self, pts: int, duration: int) -> None:
        if self._clock == self.source.time_base:
            self._durations[pts] = duration

    def _others_until(self, seconds: float) -> None:
        """Write the other tracks up to a frame's time: a muxer that waits for them then holds back little video."""
        for track in self._tracks:
            self._mux(track.until(seconds), track)

    def _encoder(self) -> Any:
        """An encoder like the video stream's own, for one segment."""
        own = self._video.codec_context
        context = av.CodecContext.create(own.codec.name, "w")
        context.options = dict(self._options)
        context.flags, context.framerate = own.flags, own.framerate
        context.bit_rate = own.bit_rate or 0
        self._describe(context)
        return context

    def _end_segment(self) -> None:
        """Finish the segment that is being encoded, and put it into the output."""
        assert self.job is not None and self._segment is not None
        self._segment.finish(self._finished_segments)
        self._segment = None
        _, packets = self.job.load(self._finished_segments)
        self._finished_segments += 1
        self._append(packets)

    def _append(self, packets: Iterable[Any]) -> None:
        """Put encoded packets into the output, among the other tracks'."""
        for packet in packets:
            # Each segment's encoder starts its decoding times anew; where frames come unevenly they may overlap.
            if self._last_dts is not None and packet.dts <= self._last_dts:
                packet.dts = min(self._last_dts + 1, packet.pts)
            self._last_dts = packet.dts
            self._others_until(float(packet.pts * self._clock))
            packet.stream, packet.time_base = self._video, self._clock
            self._mux_video([packet])

    def _add_video(self) -> None:
        """Add the video stream, with the source's size, clock, shape, rotation and colours."""
        source, output = self.source, self._container
        codec = choose_video_codec(self.options.codec, output.supported_codecs)
        if codec != self.options.codec:
            self.warnings.append(f"the video is {codec}: {output.format.name} cannot hold {self.options.codec}")
        fps = source.average_fps.limit_denominator(65535)
        frame_clock = codec in FRAME_CLOCK or output.format.name == "avi"
        self._clock = 1 / fps if frame_clock else source.time_base
        self._options = self._codec_options(codec)
        self._video = output.add_stream(codec, rate=fps, options=self._options, time_base=self._clock)
        self._pix_fmt, lost = choose_pix_fmt(codec, source.pix_fmt, source.width, source.height)
        if lost:
            self.warnings.append(f"{codec} has no {source.pix_fmt}; {self._pix_fmt} loses {lost}")
        if codec.startswith("libvpx") and self._pix_fmt.startswith("yuva"):
            self.job = None  # the alpha of these encoders travels beside their packets, which segments do not keep
        self._describe(self._video.codec_context)
        if source.display_matrix is not None:
            self._video.set_display_matrix(source.display_matrix)

    def _describe(self, context: Any) -> None:
        """Give an encoder the source's size, clock, shape and colours."""
        source = self.source
        context.time_base = self._clock
        context.width, context.height = source.width, source.height
        context.pix_fmt = self._pix_fmt
        if source.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        context.color_range = source.color_range
        context.colorspace = self._matrix(context.format)
        context.color_primaries = source.color_primaries
        context.color_trc = source.color_trc
        if context.codec.name in FRAME_CLOCK:
            context.qscale, context.global_quality = True, 2 * 118  # FFmpeg's units per quantiser step

    def _matrix(self, layout: Any) -> int:
        """The YUV matrix tag; RGB that had to become YUV is BT.601, as swscale makes it."""
        was_rgb = av.VideoFormat(self.source.pix_fmt).is_rgb
        return 6 if was_rgb and not layout.is_rgb else self.source.colorspace

    def _codec_options(self, codec: str) -> dict[str, str]:
        """Encoder options for the wanted quality."""
        options, hdr = {}, self._hdr_options(codec)
        if codec.startswith(("libx264", "libx265")):
            options = {"crf": str(self.options.crf), "preset": self.options.preset}
        if codec == "libx264" and hdr:
            options["x264-params"] = ":".join(hdr)
        if codec == "libx265":
            options["x265-params"] = ":".join(["log-level=error", *hdr])
        if codec == "libvpx-vp9":
            options = {"crf": str(round(self.options.crf)), "b": "0", "row-mt": "1", "cpu-used": "4"}
        if self._container.format.name == "avi":
            options["bf"] = "0"  # AVI has no presentation times, so frames must be stored as shown
        return options

    def _hdr_options(self, codec: str) -> list[str]:
        """Static HDR metadata as parameters of the encoder; what is lost becomes a warning."""
        source = self.source
        if source.dynamic_hdr:
            self.warnings.append("HDR metadata of single frames (HDR10+, Dolby Vision) is lost")
        if not (source.mastering_display or source.light_level):
            return []
        names = {"libx264": ("mastering-display", "cll"), "libx265": ("master-display", "max-cll")}.get(codec)
        if names is None:
            self.warnings.append(f"{codec} does not take the HDR mastering display and light level: they are lost")
            return []
        display = [f"{names[0]}={source.mastering_display}"] if source.mastering_display else []
        return display + ([f"{names[1]}={source.light_level[0]},{source.light_level[1]}"] if source.light_level else [])

    def _prepared(self, frame: Frame) -> Any:
        """The frame's picture as the encoder takes it."""
        image = convert_frame(frame.image, self._video.codec_context.pix_fmt)
        image.pts, image.time_base = frame.pts, self.source.time_base
        image.pict_type = av.video.frame.PictureType.NONE  # else x264 repeats the source's frame types
        return image

    def _mux_video(self, packets: Iterable[Any]) -> None:
        """Write video packets with the durations of their frames, which encoders do not pass on."""
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)

    def _mux(self, packets: Iterable[Any], track: SpeechStream | CopiedStreams) -> None:
        """Write the packets of another track; a copied packet with an impossible time is left out."""
        for packet in packets:
            try:
                self._container.mux(packet)
            except (av.error.ArgumentError, ValueError) as error:
                if isinstance(track, SpeechStream):
                    raise
                warning = f"stream {packet.stream_index} lost packets with times out of order ({error})"
                if not any(known.startswith(warning[:20]) for known in self.warnings):
                    self.warnings.append(warning)

    def _finish(self) -> None:
        """Write what the encoder and the other tracks still hold, and give the file its name."""
        if self._segment is not None:
            self._end_segment()
        if self._last_pts is None and not self._finished_segments:
            raise MediaError(f"no frame was written to {self.output}; check that the video has frames")
        if self.job is None:
            self._mux_video(self._video.encode(None))
        for track in self._tracks:
            packets = track.rest(self._end) if isinstance(track, CopiedStreams) else track.until(float("inf"))
            self._mux(packets, track)
        self._container.close()
        self._container = None
        if self.finish is not None:
            self.finish(self._temp)
        with self._temp.open("rb") as written:
            os.fsync(written.fileno())  # some disks tell only now that they are full
        self._temp.replace(self.output)

    def _discard(self) -> None:
        """Close everything, and delete what was written if it is still there under its hidden name."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        for track in self._tracks:
            with contextlib.suppress(av.error.FFmpegError, OSError):
                track.close()
        self._tracks = []
        with contextlib.suppress(OSError):
            self._temp.unlink(missing_ok=True)
        if self._container is not None:
            # Closing writes the rest of the file, which fails if that is why we are here.
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
                self._container.close()
            self._container = None
            self._temp.unlink(missing_ok=True)
