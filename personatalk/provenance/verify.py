"""Verification: what a video says about having been dubbed by PersonaTalk, in three ways of growing endurance.

Tags are lost when a file is converted by most programs, and anybody can write them. A C2PA manifest cannot be forged
or carried to another video, but is lost as easily. The mark stays in the picture, and names nobody.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..errors import FaceError
from ..faces.analysis import analyse
from ..faces.landmarks import open_tracker
from ..geometry.camera import crop_transform, warp
from ..geometry.morphable_model import MorphableModel
from ..media.container import open_input
from ..media.reader import VideoReader
from ..utils.progress import Progress, no_progress
from . import c2pa
from .c2pa import Credentials
from .watermark import WatermarkDetector, WatermarkResult

TAGS = ("comment", "digital_source_type", "personatalk_version")
"""Names of the tags that a dubbed file carries."""


@dataclass(frozen=True)
class Verification:
    """What was found in a file.

    Attributes:
        file: The file.
        credentials: Its C2PA manifest.
        mark: The mark in its faces.
        tags: Those of its tags that say that it was generated.
    """

    file: str
    credentials: Credentials
    mark: WatermarkResult
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def anything(self) -> bool:
        """Whether anything says that the video was generated; a manifest that was tampered with counts."""
        made = self.credentials
        return made.state == "invalid" or made.generated or self.mark.found or bool(self.tags)

    def json(self) -> str:
        """Everything, as JSON."""
        found = asdict(self)
        if not np.isfinite(self.mark.threshold):
            found["mark"]["threshold"] = None  # JSON has no infinity
        return json.dumps({"anything": self.anything, **found}, indent=1, ensure_ascii=False)

    def summary(self) -> list[str]:
        """The lines for the terminal."""
        tags = ", ".join(f"{key}={value}" for key, value in self.tags.items())
        return [self.file, *self._manifest(), self._mark(), f"tags: {tags or 'none'}"]

    def _manifest(self) -> list[str]:
        made = self.credentials
        if made.state == "none":
            return ["manifest: none"]
        if made.state == "invalid":
            return ["manifest: INVALID, file or manifest were changed", *(f"  {problem}" for problem in made.problems)]
        trust = "trusted" if made.trusted else "not trusted: nobody vouches for this name"
        lines = [f"manifest: valid, signed by {made.signer!r} of {made.issuer!r} ({trust}), made by {made.generator}"]
        if not made.generated:
            lines.append("  it says nothing of generated parts")
        if made.ranges:
            lines.append(f"  generated: {_spoken(made.ranges)}")
        return lines + [f"  {used.role}: {used.name}, sha256 {used.sha256}" for used in made.inputs]

    def _mark(self) -> str:
        if not np.isfinite(self.mark.threshold):
            return "mark: not found, as there is no face to look at"
        figures = f"score {self.mark.score:.1f}, threshold {self.mark.threshold:.1f}"
        where = f"found in {_spoken(self.mark.ranges)}" if self.mark.found else "none"
        return f"mark: {where} ({figures})"


def _spoken(ranges: list[list[float]]) -> str:
    return ", ".join(f"{start:.2f} s to {end:.2f} s" for start, end in ranges)


def verify(
    video: Path | str,
    *,
    anchors: Path | str | None = None,
    model: MorphableModel | None = None,
    face_model: Path | str | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Look for everything that says that a video was dubbed.

    Args:
        video: The file.
        anchors: PEM file of certificates whose signatures are trusted.
        model: The morphable model; that of the package where None.
        face_model: MediaPipe Tasks model; None takes the face mesh of the mediapipe wheel.
        progress: Told about the progress; see `pipeline.dub`.

    Raises:
        MediaError: The file cannot be read as a video.
        CredentialsError: The file of anchors cannot be read.
        FaceError: The face tracker cannot be started.
    """
    path = Path(video)
    tags = _tags(path)
    made = c2pa.read(path, anchors)
    return Verification(str(path), made, find_mark(path, model or MorphableModel.load(), face_model, progress), tags)


def _tags(path: Path) -> dict[str, str]:
    with open_input(path) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    ours = "personatalk_version" in tags or "PersonaTalk" in tags.get("comment", "")
    return {key: tags[key] for key in TAGS if key in tags} if ours else {}


def find_mark(
    path: Path,
    model: MorphableModel,
    face_model: Path | str | None = None,
    progress: Progress | None = None,
) -> WatermarkResult:
    """Look for the mark in the face that is followed through a video; see `verify`."""
    tell = progress or no_progress
    with VideoReader(path) as reader:
        tracker = open_tracker(face_model)
        try:
            analysis = analyse(reader, tracker, model, tell)
        except FaceError:
            return WatermarkResult()
        finally:
            tracker.close()
        detector = WatermarkDetector()
        for frame in reader.frames():
            if analysis.usable[frame.index]:
                detector.add(frame.time, warp(frame.rgb(), crop_transform(analysis.pose[frame.index])))
            tell("mark", 1, len(analysis))
        return detector.result()
