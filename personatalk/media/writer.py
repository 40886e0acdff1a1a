"""Writing: the dubbed video, with everything else that its source held.

The output appears under its name only when it is whole: it is written to a hidden file, which is renamed at the end, or
deleted when anything goes wrong.
"""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict

import av

from ..errors import MediaError, OutputError
from ..utils.files import DISK_FULL, link_target, temp_path
from .audio import read_speech
from .container import reason_of
from .encoding import segmentable
from .muxer import Muxer
from .options import EncodeOptions
from .preflight import check_output
from .probe import VideoInfo, probe_video
from .reader import Frame
from .segments import JobFolder, write_packet

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class WriterChoices(TypedDict, total=False):
    """Keywords that all writers take; see `FrameWriter`."""

    speech_seconds_limit: float | None
    extra_metadata: Mapping[str, str] | None
    finish: Callable[[Path], None] | None


def write_error(output: Path, error: BaseException) -> OutputError:
    """Return an OutputError that explains a failed write in one line."""
    if getattr(error, "errno", None) in DISK_FULL:
        free = shutil.disk_usage(output.parent).free / 1e6
        return OutputError(
            f"disk full (or file size limit reached) while writing {output}: free {free:.0f} MB; "
            "make room or name another folder"
        )
    return OutputError(f"cannot write {output}: {reason_of(error)}; name another output, container or codec")


class FrameWriter(abc.ABC):
    """Writes a dubbed video; use it in a `with` block, and `write` the frames in order.

    Attributes:
        output: The file to write.
    """

    def __init__(
        self,
        output: Path | str,
        source: VideoInfo,
        speech: Path | str | None,
        options: EncodeOptions | None = None,
        *,
        speech_seconds_limit: float | None = None,
        extra_metadata: Mapping[str, str] | None = None,
        finish: Callable[[Path], None] | None = None,
        draft: Path | None = None,
    ) -> None:
        """Check the output and create it under a hidden name.

        Args:
            output: The file to write.
            source: The video whose frames are written, and whose other streams are kept.
            speech: The new audio track, which replaces the source's default one; None keeps all audio.
            options: How to encode.
            speech_seconds_limit: Cut the speech here, in seconds from its start.
            extra_metadata: Tags to add to the file.
            finish: Called with the finished file before it gets its name, to change it in place; what it raises
                ends the run, and nothing is left.
            draft: The hidden name, on the output's disk and with its suffix; None chooses one beside the output.

        Raises:
            MediaError: The output cannot be written, or an input cannot be read.
        """
        self.output = Path(output)
        speech = None if speech is None else Path(speech)
        check_output(self.output, [path for path in (source.path, speech) if path is not None])
        self._finish = finish
        self._source = source
        self._last_pts: int | None = None
        self._end: float | None = None  # where the last written frame ends, in seconds on the source's clock
        with self._explained():
            self._muxer = Muxer(
                draft or temp_path(link_target(self.output), self.output.suffix),
                source,
                speech,
                options or EncodeOptions(),
                speech_seconds_limit=speech_seconds_limit,
                tags=extra_metadata or {},
            )

    @property
    def warnings(self) -> list[str]:
        """Return what could not be kept from the source, one line each."""
        return self._muxer.warnings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._explained():
                    self._complete()
        finally:
            self._discard()

    @abc.abstractmethod
    def resume(self, durations: Iterable[int]) -> list[Any]:
        """Take over the frames that a run before this one has finished; call it before the first `write`.

        Args:
            durations: Of all frames of the output, in order, in ticks of the source's time base.

        Returns:
            The notes of the frames taken over; the next frame to write is the one after these.
        """

    def write(self, frame: Frame, note: Any = None) -> None:
        """Encode a frame; its pts and duration, in ticks of the source's time base, are kept.

        Args:
            frame: The next frame.
            note: JSON-able; `resume` gives it back.

        Raises:
            OutputError: The disk is full, or the encoder or the container refuses.
            ValueError: The frame is not later than the one before it.
        """
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise ValueError(f"frame at {frame.pts} is not later than the one before it, {self._last_pts}")
        self._last_pts = frame.pts
        self._end = float((frame.pts + frame.duration) * self._source.time_base)
        self._muxer.keep_duration(frame.pts, frame.duration)
        with self._explained():
            self._encode(frame, note)

    def rehearse(self, image: av.VideoFrame) -> None:
        """Write one frame and the beginning of the speech, read them back, and delete it all.

        Args:
            image: Like those of the source.

        Raises:
            OutputError: The encoders or the container refuse, now rather than after the work, or what they write is not
                what was meant.
        """
        source = self._source
        try:
            self._muxer.leave_out_copies()
            pts = round(Fraction(source.start_seconds) / source.time_base)
            ticks = max(1, round(1 / (source.average_fps * source.time_base)))
            self.write(Frame(0, 0.0, pts, ticks, image))
            with self._explained():
                self._flush()
                self._muxer.write_others(float((pts + ticks) * source.time_base))
                self._muxer.close()
            self._read_back()
        finally:
            self._discard()

    def _read_back(self) -> None:
        """Make sure that the written file has a video of the source's size, and the speech."""
        try:
            written = probe_video(self._muxer.path)
            if self._muxer.has_speech:
                read_speech(self._muxer.path)
        except MediaError as error:
            raise OutputError(f"cannot write {self.output}: what is written cannot be read") from error
        if (written.width, written.height) != (self._source.width, self._source.height):
            size = f"{written.width} x {written.height}"
            raise OutputError(f"{self.output} would be {size}; name another container or codec")

    @abc.abstractmethod
    def _encode(self, frame: Frame, note: Any) -> None:
        """Encode a frame, and write the packets that are ready."""

    @abc.abstractmethod
    def _flush(self) -> None:
        """Write what the encoder still holds."""

    def _complete(self) -> None:
        """Write the rest, and give the file its name."""
        self._flush()
        if self._end is None:
            raise MediaError(f"no frame was written to {self.output}; check that the video has frames")
        self._muxer.finish(self._end)
        draft = self._muxer.path
        if self._finish is not None:
            self._finish(draft)
        with draft.open("rb") as written:
            os.fsync(written.fileno())  # some disks tell only now that they are full
        draft.replace(link_target(self.output))

    def _discard(self) -> None:
        """Close everything, and delete what was written if it is still there under its hidden name."""
        self._muxer.discard()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn FFmpeg's, PyAV's and the system's errors into OutputError."""
        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise write_error(self.output, error) from error


class VideoWriter(FrameWriter):
    """Writes a video in one go: what is cut off is lost."""

    def resume(self, durations: Iterable[int]) -> list[Any]:
        """Take over nothing."""
        return []

    def _encode(self, frame: Frame, note: Any) -> None:
        self._muxer.write_others(float(frame.pts * self._muxer.encoding.source.time_base))
        self._muxer.write_video(self._muxer.video.encode(self._muxer.encoding.prepare(frame)))

    def _flush(self) -> None:
        if self._end is not None:
            self._muxer.write_video(self._muxer.video.encode(None))


class SegmentedVideoWriter(FrameWriter):
    """Writes a video in segments that are kept in a job's folder, so that a run that was cut off can go on."""

    def __init__(
        self,
        job: JobFolder,
        output: Path | str,
        source: VideoInfo,
        speech: Path | str | None,
        options: EncodeOptions | None = None,
        **choices: Unpack[WriterChoices],
    ) -> None:
        """Check the output and create it in the job's folder, where what a kill leaves is found and dropped.

        Args:
            job: The folder.
            output: The file to write.
            source: The video whose frames are written, and whose other streams are kept.
            speech: As of `FrameWriter`, like `options` and `choices`.
            options: How to encode.
            choices: Further keywords of `FrameWriter`.

        Raises:
            MediaError: As of `FrameWriter`.
        """
        super().__init__(output, source, speech, options, draft=job.draft, **choices)
        self._job = job
        self._segment: _Segment | None = None
        self._finished_segments = 0
        self._last_dts: int | None = None

    def resume(self, durations: Iterable[int]) -> list[Any]:
        """Take over the finished segments; see `FrameWriter`."""
        encoding = self._muxer.encoding
        notes: list[Any] = []
        times = iter(durations)
        with self._explained():
            while (shown := self._job.shown(self._finished_segments)) is not None:
                # Packets come in decoding order, durations belong to frames as they are shown.
                for pts in shown:
                    duration = next(times)
                    self._muxer.keep_duration(pts, duration)
                    self._end = float(pts * encoding.clock + duration * encoding.source.time_base)
                notes += self._take_over()
        return notes

    def _encode(self, frame: Frame, note: Any) -> None:
        if self._segment is None:
            self._segment = _Segment(self._job, self._muxer.encoding.encoder(self._muxer.video))
        self._segment.write(self._muxer.encoding.prepare(frame), note)
        if len(self._segment.notes) == self._job.segment_frames:
            self._flush()

    def _flush(self) -> None:
        if self._segment is not None:
            self._segment.finish(self._finished_segments)
            self._segment = None
            self._take_over()

    def _take_over(self) -> list[Any]:
        """Put the next finished segment into the output, among the other tracks; return its notes."""
        clock = self._muxer.encoding.clock
        notes, packets = self._job.load(self._finished_segments)
        self._finished_segments += 1
        for packet in packets:
            # Each segment's encoder starts its decoding times anew; where frames come unevenly they may overlap.
            if self._last_dts is not None and packet.dts <= self._last_dts:
                packet.dts = min(self._last_dts + 1, packet.pts)
            self._last_dts = packet.dts
            self._muxer.write_others(float(packet.pts * clock))
            packet.stream, packet.time_base = self._muxer.video, clock
            self._muxer.write_video([packet])
        return notes

    def _discard(self) -> None:
        if self._segment is not None:
            self._segment.close()
        super()._discard()


class _Segment:
    """A stretch of video that is being encoded into a job's folder.

    Args:
        job: The folder.
        encoder: An encoder for this segment alone.
    """

    def __init__(self, job: JobFolder, encoder: av.VideoCodecContext) -> None:
        self.notes: list[Any] = []
        self._job, self._encoder = job, encoder
        self._path = job.folder / "packets"
        self._file = self._path.open("wb")

    def write(self, image: av.VideoFrame, note: Any) -> None:
        """Encode an image."""
        self.notes.append(note)
        for packet in self._encoder.encode(image):
            write_packet(self._file, packet)

    def finish(self, number: int) -> None:
        """Write what the encoder still holds, and store the segment under a number."""
        for packet in self._encoder.encode(None):
            write_packet(self._file, packet)
        self._file.close()
        self._job.store(number, self.notes, self._path)

    def close(self) -> None:
        """Close an unfinished segment, which is lost."""
        self._file.close()


def resumable_writer(
    job: JobFolder,
    output: Path | str,
    source: VideoInfo,
    speech: Path | str | None,
    options: EncodeOptions | None = None,
    **choices: Unpack[WriterChoices],
) -> FrameWriter:
    """Return a writer in segments, or one in one go where segments could not keep the video.

    Args:
        job: The job's folder.
        output: The file to write.
        source: The video whose frames are written, and whose other streams are kept.
        speech: As of `FrameWriter`, like `options` and `choices`.
        options: How to encode.
        choices: Further keywords of `FrameWriter`.

    Raises:
        MediaError: As of `FrameWriter`.
    """
    if segmentable(source, options or EncodeOptions(), Path(output)):
        return SegmentedVideoWriter(job, output, source, speech, options, **choices)
    return VideoWriter(output, source, speech, options, draft=job.draft, **choices)
