"""The output file while it is written: all its streams, and their packets in the order of time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import av

from ..utils.scheduling import ordinary_scheduling
from .codecs import kept_tags
from .container import media_url
from .encoding import VideoEncoding
from .options import EncodeOptions
from .probe import VideoInfo
from .streams import CopiedStreams, SpeechStream

# Suffixes of QuickTime's kind of files.
QUICKTIME = (".mp4", ".mov", ".m4v", ".3gp")

# QuickTime's own tag names are few; the first flag lets any name through. The second puts the index to the front, so
# that the file plays while it downloads.
QUICKTIME_FLAGS = "use_metadata_tags+faststart"


class Muxer:
    """An output file with a video stream to fill, the speech, and the source's other streams.

    Attributes:
        path: The file.
        encoding: How its video is encoded.
        video: Its video stream.
        warnings: What could not be kept from the source, one line each.
    """

    def __init__(
        self,
        path: Path,
        source: VideoInfo,
        speech: Path | None,
        options: EncodeOptions,
        *,
        speech_seconds_limit: float | None,
        tags: Mapping[str, str],
    ) -> None:
        """Create the file and add all streams: video, speech, then the others in the source's order.

        Args:
            path: The file; its suffix chooses the container.
            source: The video whose other streams are kept.
            speech: The new audio track, which replaces the source's default one; None keeps all audio.
            options: How to encode.
            speech_seconds_limit: Cut the speech here, in seconds from its start.
            tags: Tags to add to the file.

        Raises:
            MediaError: A stream cannot be read or encoded; nothing is left.
        """
        self.path = path
        self._tracks: list[SpeechStream | CopiedStreams] = []
        self._durations: dict[int, int] = {}  # of the frames that are in the encoder, by pts
        flags = {"movflags": QUICKTIME_FLAGS} if path.suffix.lower() in QUICKTIME else {}
        self._container = av.open(media_url(path), "w", container_options=flags)
        try:
            self.encoding = VideoEncoding.choose(source, options, self._container)
            self.warnings = self.encoding.warnings
            self.video = self.encoding.add_stream(self._container)
            if speech is not None:
                start = source.start_seconds
                self._tracks.append(SpeechStream(speech, self._container, options, start, speech_seconds_limit))
            copies = CopiedStreams(source, self._container, speech is not None, self.warnings)
            self._tracks.append(copies)
            self._add_metadata(copies, source.stream_index, tags)
            with ordinary_scheduling():
                self._container.start_encoding()
        except BaseException:
            self.discard()
            raise

    def _add_metadata(self, copies: CopiedStreams, video_index: int, tags: Mapping[str, str]) -> None:
        original = copies.input.streams[video_index]
        self.video.metadata.update(kept_tags(original.metadata))
        self.video.disposition = int(original.disposition)
        self._container.metadata.update(kept_tags(copies.input.metadata))
        self._container.metadata.update(tags)
        if copies.input.chapters():
            self._container.set_chapters(copies.input.chapters())

    @property
    def has_speech(self) -> bool:
        """Return whether there is a new audio track."""
        return any(isinstance(track, SpeechStream) for track in self._tracks)

    def keep_duration(self, pts: int, duration: int) -> None:
        """Remember how long a frame is shown, both in ticks of the source: encoders do not pass it on."""
        if self.encoding.clock == self.encoding.source.time_base:
            self._durations[pts] = duration

    def write_video(self, packets: Iterable[av.Packet]) -> None:
        """Write packets of the video stream with the durations of their frames."""
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)

    def write_others(self, seconds: float) -> None:
        """Write the other tracks up to a frame's time: a muxer that waits for them then holds back little video."""
        for track in self._tracks:
            self._write(track.until(seconds), track)

    def finish(self, end: float) -> None:
        """Write what the other tracks still hold, and close the file.

        Args:
            end: Where the last frame ends, in seconds on the source's clock.
        """
        for track in self._tracks:
            packets = track.rest(end) if isinstance(track, CopiedStreams) else track.until(float("inf"))
            self._write(packets, track)
        self.close()

    def close(self) -> None:
        """Close the file, whatever the tracks still hold."""
        self._container.close()

    def leave_out_copies(self) -> None:
        """Write no packet of the source's other streams from now on: a search for the first could read all of it."""
        for track in [track for track in self._tracks if isinstance(track, CopiedStreams)]:
            track.close()
            self._tracks.remove(track)

    def _write(self, packets: Iterable[av.Packet], track: SpeechStream | CopiedStreams) -> None:
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

    def discard(self) -> None:
        """Close everything, and delete the file if it still has its name."""
        for track in self._tracks:
            with contextlib.suppress(av.error.FFmpegError, OSError):
                track.close()
        self._tracks.clear()
        # Before and after, as closing writes the rest of a file, which fails if that is why we are here.
        self._delete()
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
            self._container.close()
        self._delete()

    def _delete(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
