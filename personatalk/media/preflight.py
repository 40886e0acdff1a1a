"""Checks of the output and the source before any work."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import av

from ..errors import MediaError, OutputError
from ..utils.files import link_target, same_file
from .codecs import AUDIO_ONLY_SUFFIXES, FALLBACK_VIDEO, SHORTEST_TRACK_ENDS, choose_pix_fmt, choose_video_codec
from .container import media_url
from .probe import VideoInfo, has_alpha
from .reader import VideoReader

# 8-bit alpha of a pixel that hides all behind it.
OPAQUE = 255


def check_output(output: Path | str, inputs: Iterable[Path | str] = ()) -> None:
    """Make sure, before any work, that the output can be written.

    Args:
        output: The file to write; it may exist and is then replaced.
        inputs: Files that are read, and must not be the output under any name.

    Raises:
        OutputError: The folder is missing or not writable, the output is a folder or one of the inputs, or
            its suffix names no container that FFmpeg can write video to.
    """
    output = Path(output)
    folder = link_target(output).parent
    try:
        is_folder = output.is_dir()
    except OSError as error:
        raise OutputError(f"the output {output} is no name for a file ({error.strerror}); name another") from error
    if is_folder:
        raise OutputError(f"the output {output} is a folder; name a file in it")
    if not folder.is_dir():
        raise OutputError(f"the output folder {folder} does not exist; create it or name another")
    for name in inputs:
        if same_file(output, Path(name)):
            raise OutputError(f"the output {output} is the input {name}; name another output")
    _check_suffix(output)
    try:
        # Only doing it tells for sure: permissions, read-only media and access lists all look alike.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"the output folder {folder} is not writable ({reason}); name another") from error


def _check_suffix(output: Path) -> None:
    """Raise unless the output's suffix names a container for video."""
    advice = "use .mp4, .mov, .mkv, .webm or .avi"
    try:
        # Nothing is created on disk before a header is written.
        with av.open(media_url(output), "w") as container:
            holds = set(FALLBACK_VIDEO) & container.supported_codecs
            whole = container.format.name not in SHORTEST_TRACK_ENDS
            usable = holds and whole and not container.format.no_file and container.default_video_codec != "none"
    except (ValueError, av.error.FFmpegError):
        raise OutputError(f"the output {output} has a suffix that FFmpeg cannot write; {advice}") from None
    if not usable or output.suffix.lower() in AUDIO_ONLY_SUFFIXES:
        raise OutputError(f"the output {output} has a suffix that cannot hold this video; {advice}")


def check_source(source: VideoInfo, output: Path | str, codec: str) -> None:
    """Make sure, before any work, that a video is of a kind that can be dubbed and written whole.

    Args:
        source: The video.
        output: The file to write.
        codec: The wanted encoder, as in `EncodeOptions`.

    Raises:
        MediaError: The video is interlaced, or it is transparent and the output cannot be.
    """
    if source.interlaced:
        raise MediaError(
            f"{source.path} is interlaced: each frame holds two moments; deinterlace it first (ffmpeg -vf bwdif), or"
            " clear the mark if it is wrong (-vf setfield=prog)"
        )
    if not source.alpha:
        return
    if not has_alpha(av.VideoFormat(source.pix_fmt)):
        raise MediaError(f"{source.path} has transparency in a layer that is not read; convert it to ProRes 4444 first")
    with av.open(media_url(output), "w") as container:
        chosen = choose_video_codec(codec, container.supported_codecs)
    kept, _ = choose_pix_fmt(chosen, source.pix_fmt, source.width, source.height)
    if not has_alpha(av.VideoFormat(kept)) and _shows_through(source):
        raise MediaError(
            f"{source.path} has transparency, which {chosen} cannot hold; use --codec prores_ks with .mov or --codec"
            " ffv1 with .mkv, or put it on a background first"
        )


@lru_cache(maxsize=8)
def _shows_through(source: VideoInfo) -> bool:
    """Return whether any pixel is transparent: GIFs and screen recordings have the layer for it, mostly unused."""
    with VideoReader(source.path) as reader:
        return any(frame.image.to_ndarray(format="rgba")[..., 3].min() < OPAQUE for frame in reader.frames())
