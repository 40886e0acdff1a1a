"""A request for one run: its files and choices, and their check before the work.

Nothing here loads a network, so that the command line can tell at once what will not do.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CueError, MediaError, OptionError
from ..faces.choice import FaceImage, parse_choice
from ..media.lengths import speech_seconds, video_seconds
from ..media.options import AS_LONG_AS_SPEECH, EncodeOptions
from ..media.preflight import check_output, check_source
from ..media.probe import VideoInfo, probe_speech, probe_video
from ..media.rehearsal import rehearse
from ..media.still import StillVideo, still_as_video
from ..media.timeline import stretch_to, stretched
from ..provenance.options import Provenance
from ..utils.files import file_stamp, regular_file
from ..version import __version__
from .audio_mix import mix_cues
from .cues import Cue, read_cues
from .options import DubOptions

if TYPE_CHECKING:
    from .weights import Models

# Seconds of the source's audio that the rehearsal of a run with cues writes.
MIXED_SECONDS = 0.2


@dataclass(frozen=True)
class DubRequest:
    """The files and choices of one run.

    Attributes:
        video: The source.
        speeches: Files of the speech.
        output: The file to write.
        options: Choices.
        cues: Cues that the run depends on; none where one person says one speech.
        still: A video of one frame that is read instead of `video`, where that is a still image.
    """

    video: Path
    speeches: list[Path]
    output: Path
    options: DubOptions
    cues: Sequence[Cue] = ()
    still: StillVideo | None = None

    @property
    def source(self) -> Path:
        """The video that is read."""
        return self.video if self.still is None else self.still.path

    @classmethod
    def of_cues(
        cls, video: Path | str, cues: Path | str | Sequence[Cue], output: Path | str, options: DubOptions
    ) -> DubRequest:
        """Return the request of a run with cues.

        Args:
            video: The source.
            cues: A cue file, or the cues themselves.
            output: The file to write.
            options: Choices.

        Raises:
            CueError: The cue file is not understood, or a cue has impossible times.
            OptionError: An option goes with one speech only.
        """
        chosen = (options.face, options.persona, options.style, options.start, options.end)
        if chosen != (None,) * len(chosen) or options.length != "video":
            raise OptionError(
                "cues say who speaks and when: give no face, persona, style, length, start or end beside them"
            )
        known = read_cues(cues) if isinstance(cues, str | Path) else sorted(cues, key=lambda cue: cue.start)
        if not known or any(not 0 <= cue.start < cue.end or cue.offset < 0 for cue in known):
            raise CueError("a list of cues needs one at least, each with 0 <= start < end and an offset of 0 or more")
        speeches = list(dict.fromkeys(cue.speech for cue in known))
        return cls(Path(video), speeches, Path(output), options, known)

    @classmethod
    def of_speech(
        cls, video: Path, speech: Path, output: Path, options: DubOptions, still: StillVideo | None = None
    ) -> DubRequest:
        """Return the request of a run with one speech; a stretch of the video is a run with one cue.

        Args:
            video: The source.
            speech: The file of the speech.
            output: The file to write.
            options: Choices.
            still: The video that is read, where `video` is a still image; the output is as long as the speech.

        Raises:
            MediaError: The speech cannot be read.
            OptionError: An option does not go with a stretch or a still.
        """
        if still is not None:
            if (options.start, options.end, options.persona) != (None, None, None):
                raise OptionError(f"{video} is a still image: give no start, end or persona beside it")
            options = replace(options, length="loop")
        if options.start is None and options.end is None:
            return cls(video, [speech], output, options, still=still)
        if options.length != "video":
            raise OptionError("--start and --end keep the video's length: give no length beside them")
        start = options.start or 0.0
        end = start + speech_seconds(speech) if options.end is None else options.end
        return cls(video, [speech], output, options, [Cue(start, end, None, speech, where=str(speech))])

    def check(self) -> None:
        """Make sure, before any work, that the inputs can be read and the output can be written.

        Raises:
            PersonaTalkError: Something will not do; the message names it.
        """
        check_output(self.output, [self.video, *self.speeches])
        source = probe_video(self.source)
        check_source(source, self.output, self.options.encode.codec)
        for speech in self.speeches:
            probe_speech(speech)
        start = self.options.start or 0.0
        if source.duration is not None and start >= source.duration:
            raise OptionError(f"{self.video} ends at {source.duration:.1f} s, before --start {start:g}")
        if self.options.length == "remap":
            source = self._stretched(source)
        self._rehearse(source)
        self.options.check()

    def _stretched(self, source: VideoInfo) -> VideoInfo:
        """Return the description of a source that is stretched to the length of the speech."""
        speech = self.speeches[0]
        lengths = video_seconds(source), speech_seconds(speech)
        try:
            return stretched(source, stretch_to(*lengths))
        except MediaError as error:
            raise MediaError(f"{speech} and {self.video}: {error}") from error

    def _rehearse(self, source: VideoInfo) -> None:
        """Try the encoders and the container on the audio that the output will get."""
        if self.cues:
            _rehearse_mixed(source, self.output, self.options.encode)
        else:
            limit = None if self.options.length in AS_LONG_AS_SPEECH else source.duration
            speech = self.speeches[0]
            _rehearse_speech(source, self.output, self.options.encode, limit, speech, file_stamp(speech))

    def key(self, models: Models) -> dict[str, Any]:
        """Return what the finished parts of a run depend on, JSON-able."""
        options = self.options
        chosen = (options.persona, options.style, options.identity)
        files = [self.video, *self.speeches, *(f for f in chosen if f is not None), *self._face_images()]
        return {
            "version": __version__,
            "files": [file_stamp(file) for file in files],
            "options": repr(replace(options, provenance=Provenance(options.provenance.on))),
            "models": models.fingerprint(),
            "cues": [repr(replace(cue, where="")) for cue in self.cues],
        }

    def _face_images(self) -> list[Path]:
        """Return the reference images of faces."""
        words = [self.options.face, *(cue.face for cue in self.cues)]
        choices = [parse_choice(word) for word in words if word is not None]
        return [choice.path for choice in choices if isinstance(choice, FaceImage)]


# The command line checks before PyTorch is loaded, and the run itself does: what has passed is not tried again.
@lru_cache(maxsize=8)
def _rehearse_speech(
    source: VideoInfo, output: Path, options: EncodeOptions, limit: float | None, speech: Path, stamp: str
) -> None:
    """Try the encoders and the container on a speech; `stamp` tells its states apart."""
    rehearse(output, source, speech, options, limit)


@lru_cache(maxsize=8)
def _rehearse_mixed(source: VideoInfo, output: Path, options: EncodeOptions) -> None:
    """Try the encoders and the container on audio like that which cues make."""
    with tempfile.TemporaryDirectory(prefix=".", dir=output.parent) as folder:
        mix = Path(folder, "sound.wav")
        mix_cues(source.path, [], MIXED_SECONDS, mix)
        rehearse(output, source, mix, options, None)


@contextlib.contextmanager
def speech_request(video: Path, speech: Path, output: Path, options: DubOptions) -> Iterator[DubRequest]:
    """Yield the request of a run with one speech, which may come out of a pipe.

    Args:
        video: The source, or a still image.
        speech: As of `dub.dub`.
        output: The file to write.
        options: Choices.

    Raises:
        PersonaTalkError: The speech cannot be read, or options contradict each other.
    """
    with regular_file(speech) as kept, still_as_video(video) as still:
        yield DubRequest.of_speech(video, kept, output, options, still)
