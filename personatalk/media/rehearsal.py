"""Rehearsal of the writing: what encoders and container refuse is found before the work, not after it.

Only they know what they take, and many tell it only when a header or a first packet is written. So one blank frame and
the beginning of the speech are written with the true settings by the writer that will write the output. Where that
fails, further rehearsals find what is to blame: an option without which it works, or the container.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import av

from ..errors import MediaError, OutputError
from ..utils.files import DISK_FULL, link_target
from ..utils.options import options_of, with_options
from .container import reason_of
from .options import EncodeOptions
from .probe import VideoInfo
from .segments import JobFolder
from .writer import resumable_writer

# Width and height of the largest block of any encoder, in pixels.
LARGEST_BLOCK = 128

# Suffixes of the containers that are tried for advice, best first.
ADVISED = (".mp4", ".mkv", ".mov", ".webm")


@dataclass(frozen=True)
class _Rehearsal:
    """Output that is tried.

    Attributes:
        output: The file that is to be written; the rehearsal's lies beside it.
        source: The video.
        speech: The new audio track, None for none.
        options: How to encode.
        speech_seconds_limit: As of the writer: whether the speech is cut decides whether it is encoded anew.
    """

    output: Path
    source: VideoInfo
    speech: Path | None
    options: EncodeOptions
    speech_seconds_limit: float | None

    def refusal(self) -> MediaError | None:
        """Write and delete; return what went wrong, None for nothing."""
        # A name of its own, so that what a kill leaves is found and dropped by the next run.
        output = link_target(self.output)
        trial = output.with_name(f"{output.name}.rehearsal{self.output.suffix}")
        try:
            with JobFolder(trial, {}) as job:
                limit = self.speech_seconds_limit
                writer = resumable_writer(
                    job, self.output, self.source, self.speech, self._quick_options(), speech_seconds_limit=limit
                )
                writer.rehearse(_blank(self.source))
        except MediaError as error:
            return error
        return None

    def _quick_options(self) -> EncodeOptions:
        """Return the options with the fastest preset, where presets change nothing but speed.

        In small images they do: the blocks of slower ones may be larger than the image.
        """
        small = min(self.source.width, self.source.height) < LARGEST_BLOCK
        return self.options if small else replace(self.options, preset="ultrafast")

    def passes(self, **changes: object) -> bool:
        """Return whether it works with other settings."""
        return replace(self, **changes).refusal() is None  # type: ignore[arg-type]

    def advice(self) -> str:
        """Find out by further rehearsals what is to blame; return that and what to do."""
        for option in options_of(EncodeOptions):
            value = getattr(self.options, option.name)
            without = with_options(self.options, {option.name: option.default})
            if value != option.default and self.passes(options=without):
                return f"{option.flag} {value} is refused; give another value or leave it out"
        others = (self.output.with_suffix(suffix) for suffix in ADVISED)
        fitting = next((other.suffix for other in others if self.passes(output=other)), None)
        without_speech = self.speech is not None and self.passes(speech=None)
        refused = f"the speech {self.speech}" if without_speech else f"the video {self.source.path}"
        todo = f"use {fitting}" if fitting else "convert it first, or give another --codec"
        return f"{self.output.suffix} does not take {refused}; {todo}"


def rehearse(
    output: Path, source: VideoInfo, speech: Path | None, options: EncodeOptions, speech_seconds_limit: float | None
) -> None:
    """Make sure, before any work, that the output's encoders and container take what will be written.

    Args:
        output: The file to write.
        source: The video whose frames are written, and whose other streams are kept.
        speech: The new audio track; None keeps all audio.
        options: How to encode.
        speech_seconds_limit: Where the speech is cut, in seconds from its start; None for nowhere.

    Raises:
        OutputError: They do not; the message names the option or the file that is to blame.
    """
    rehearsal = _Rehearsal(output, source, speech, options, speech_seconds_limit)
    error = rehearsal.refusal()
    if error is None:
        return
    cause = error.__cause__
    if (
        not isinstance(cause, av.error.FFmpegError | ValueError | MediaError)
        or getattr(cause, "errno", None) in DISK_FULL
    ):
        raise error  # it says itself what to do
    if rehearsal.passes():
        return  # a machine that was short of threads or memory for a moment; what is refused is refused again
    reason = "what is written cannot be read" if isinstance(cause, MediaError) else reason_of(cause)
    raise OutputError(f"cannot write {output} ({reason}): {rehearsal.advice()}") from cause


def _blank(source: VideoInfo) -> av.VideoFrame:
    """Return an image like those of a video, with zeros in all planes."""
    image = av.VideoFrame(source.width, source.height, source.pix_fmt)
    for plane in image.planes:
        plane.update(bytes(plane.buffer_size))
    return image
