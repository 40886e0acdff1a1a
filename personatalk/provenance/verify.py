"""Verification: looks for the tags, the C2PA manifest and the watermark of a video that PersonaTalk dubbed.

Most programs drop the tags when they convert a file, and anybody can write them. A C2PA manifest cannot be forged or
carried to another video, but is lost as easily. The watermark stays in the pixels, and names nobody.
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
from .c2pa_reader import Credentials, read_credentials
from .signing import TAGS
from .watermark import WatermarkDetector, WatermarkResult


@dataclass(frozen=True)
class Verification:
    """Signs of a dub that were found in a file.

    Attributes:
        file: The file.
        credentials: Its C2PA manifest.
        watermark: The watermark in its face.
        tags: Those of its tags that say that it was generated.
    """

    file: str
    credentials: Credentials
    watermark: WatermarkResult
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def anything(self) -> bool:
        """Return whether anything says that the video was generated; a manifest that was tampered with counts."""
        manifest = self.credentials
        return manifest.state == "invalid" or manifest.generated or self.watermark.found or bool(self.tags)

    def json(self) -> str:
        """Return all findings as JSON."""
        found = asdict(self)
        if not np.isfinite(self.watermark.threshold):
            found["watermark"]["threshold"] = None  # JSON has no infinity
        return json.dumps({"anything": self.anything, **found}, indent=1, ensure_ascii=False)

    def summary(self) -> list[str]:
        """Return the lines for the terminal."""
        tags = ", ".join(f"{key}={value}" for key, value in self.tags.items())
        return [self.file, *self._manifest_lines(), self._watermark_line(), f"tags: {tags or 'none'}"]

    def _manifest_lines(self) -> list[str]:
        manifest = self.credentials
        if manifest.state == "none":
            return ["manifest: none"]
        if manifest.state == "invalid":
            return [
                "manifest: INVALID, file or manifest were changed",
                *(f"  {problem}" for problem in manifest.problems),
            ]
        trust = "trusted" if manifest.trusted else "not trusted: nobody vouches for this name"
        name = f"{manifest.signer!r} of {manifest.issuer!r}"
        lines = [f"manifest: valid, signed by {name} ({trust}), made by {manifest.generator}"]
        if not manifest.generated:
            lines.append("  it says nothing of generated parts")
        if manifest.ranges:
            lines.append(f"  generated: {_format_ranges(manifest.ranges)}")
        return lines + [f"  {used.role}: {used.name}, sha256 {used.sha256}" for used in manifest.inputs]

    def _watermark_line(self) -> str:
        if not np.isfinite(self.watermark.threshold):
            return "watermark: not found, as there is no face to look at"
        figures = f"score {self.watermark.score:.1f}, threshold {self.watermark.threshold:.1f}"
        where = f"found in {_format_ranges(self.watermark.ranges)}" if self.watermark.found else "none"
        return f"watermark: {where} ({figures})"


def _format_ranges(ranges: list[list[float]]) -> str:
    return ", ".join(f"{start:.2f} s to {end:.2f} s" for start, end in ranges)


def verify(
    video: Path | str,
    *,
    anchors: Path | str | None = None,
    model: MorphableModel | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Look for everything in a file that says that it was dubbed.

    Args:
        video: The file.
        anchors: PEM file of certificates whose signatures are trusted.
        model: The morphable model; that of the package where None.
        progress: Called with the progress; see `pipeline.dub`.

    Raises:
        MediaError: The file cannot be read as a video.
        CredentialsError: The file of anchors cannot be read.
        FaceError: The face tracker cannot be started.
    """
    path = Path(video)
    tags = _read_tags(path)
    credentials = read_credentials(path, anchors)
    watermark = find_watermark(path, model or MorphableModel.load(), progress)
    return Verification(str(path), credentials, watermark, tags)


def _read_tags(path: Path) -> dict[str, str]:
    with open_input(path) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    ours = "personatalk_version" in tags or "PersonaTalk" in tags.get("comment", "")
    return {key: tags[key] for key in TAGS if key in tags} if ours else {}


def find_watermark(
    path: Path,
    model: MorphableModel,
    progress: Progress | None = None,
) -> WatermarkResult:
    """Look for the watermark in the face that is followed through a video; arguments as of `verify`."""
    progress = progress or no_progress
    with VideoReader(path) as reader:
        tracker = open_tracker()
        try:
            analysis = analyse(reader, tracker, model, progress)
        except FaceError:
            return WatermarkResult()
        finally:
            tracker.close()
        detector = WatermarkDetector()
        for frame in reader.frames():
            if analysis.usable[frame.index]:
                detector.add(frame.time, warp(frame.rgb(), crop_transform(analysis.pose[frame.index])))
            progress("watermark", 1, len(analysis))
        return detector.result()
