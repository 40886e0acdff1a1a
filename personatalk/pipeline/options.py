"""personatalk.pipeline.options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import MediaError, PersonaTalkError
from ..faces.selection import FaceSearch
from ..media.codecs import EncodeOptions
from ..media.timeline import LengthPolicy
from ..provenance.c2pa import Provenance
from ..utils.files import is_file

Silence = Literal["rest", "original"]

STRONGEST = 1.5
"""Largest style strength: beyond it mouths leave what faces do."""


@dataclass(frozen=True)
class DubOptions:
    """What a user may choose.

    Attributes:
        length: What happens where speech and video differ in length; see `timeline.LengthPolicy`.
        encode: Codec and quality.
        face_model: MediaPipe Tasks model; None takes the face mesh of the mediapipe wheel.
        face: Who is dubbed where the video shows several people; see `choice.parse_choice`. None follows the largest
            face.
        identity: ArcFace network in ONNX that tells people apart; None takes their appearance in the video.
        silence: What the mouth does where the speech is silent for longer: "rest" closes it, "original" shows the
            source's.
        provenance: Whether the output says that it was generated, and who signs that.
        persona: A persona of the speaker; a video that it was made from is not analysed again.
        style: A persona or a video whose speaking style is taken instead of the speaker's own.
        style_strength: 0 (nobody's style) .. 1 (the style) .. 1.5 (more than it).
    """

    length: LengthPolicy = "video"
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    face_model: Path | str | None = None
    face: str | None = None
    identity: Path | str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    silence: Silence = "rest"
    persona: Path | str | None = None
    style: Path | str | None = None
    style_strength: float = 1.0

    def search(self) -> FaceSearch:
        """What finds the chosen person."""
        return FaceSearch(self.face, self.face_model, self.identity)

    def check(self) -> None:
        """Find out before the work what can be found out then.

        Raises:
            PersonaTalkError: A choice cannot be met.
        """
        self.search().check()
        if not 0 <= self.style_strength <= STRONGEST:
            raise PersonaTalkError(f"style strength {self.style_strength:g}: give one from 0 to {STRONGEST:g}")
        for path in (self.persona, self.style):
            if path is not None and not is_file(Path(path)):
                raise MediaError(f"{path}: there is no such file")
