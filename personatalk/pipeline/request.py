"""A request for one run: its files and choices, and their check before the work.

Nothing here loads a network, so that the command line can tell at once what will not do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CueError, PersonaTalkError
from ..faces.choice import FaceImage, parse_choice
from ..media.options import EncodeOptions
from ..media.preflight import check_output, check_source
from ..media.probe import VideoInfo, probe_speech, probe_video
from ..media.rehearsal import rehearse
from ..provenance.options import Provenance
from ..utils.files import file_stamp
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
    """

    video: Path
    speeches: list[Path]
    output: Path
    options: DubOptions
    cues: Sequence[Cue] = ()

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
            PersonaTalkError: An option goes with one speech only.
        """
        if (options.face, options.persona, options.style, options.length) != (None, None, None, "video"):
            raise PersonaTalkError("cues say who speaks and when: give no face, persona, style or length beside them")
        known = read_cues(cues) if isinstance(cues, str | Path) else sorted(cues, key=lambda cue: cue.start)
        if not known or any(not 0 <= cue.start < cue.end or cue.offset < 0 for cue in known):
            raise CueError("a list of cues needs one at least, each with 0 <= start < end and an offset of 0 or more")
        speeches = list(dict.fromkeys(cue.speech for cue in known))
        return cls(Path(video), speeches, Path(output), options, known)

    def check(self) -> None:
        """Make sure, before any work, that the inputs can be read and the output can be written.

        Raises:
            PersonaTalkError: Something will not do; the message names it.
        """
        check_output(self.output, [self.video, *self.speeches])
        source = probe_video(self.video)
        check_source(source, self.output, self.options.encode.codec)
        for speech in self.speeches:
            probe_speech(speech)
        self._rehearse(source)
        self.options.check()

    def _rehearse(self, source: VideoInfo) -> None:
        """Try the encoders and the container on the audio that the output will get."""
        if self.cues:
            _rehearse_mixed(source, self.output, self.options.encode)
        else:
            limit = None if self.options.length == "pingpong" else source.duration
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
