"""The second pass: renders new mouths into the frames of the output, which stream by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import MediaError
from ..faces.analysis import Analysis, SkipReason, yaw_of
from ..faces.occlusion import ProbePoints, visibility
from ..geometry.camera import apply_transform
from ..geometry.morphable_model import MorphableModel
from ..media.reader import Frame, VideoReader
from ..media.timeline import Plan, frames_in_order, retimed
from ..provenance.watermark import embed_watermark
from ..stage2.compositing import match_colours, to_image
from ..stage2.face_crops import FaceCropper
from ..stage2.geometry_map import GeometryMap, geometry_map
from ..stage2.references import FACE_REFERENCES, LIP_REFERENCES, face_references, lip_references
from ..stage2.renderer import Reference, merge_references
from ..utils.arrays import Array
from ..utils.threads import parallel_map
from .fading import blend_weight
from .report import Report
from .roles import Speaker
from .weights import Models

BEHIND, AHEAD = FACE_REFERENCES // 2, FACE_REFERENCES // 2
"""Frames before and after a frame that are held for its face references."""

Step = tuple[Frame, "str | None"]
"""A frame of the output, and why it has no new mouth; None if it has."""


def dubbed_frames(
    models: Models,
    reader: VideoReader,
    roles: list[Speaker],
    timeline: Plan,
    report: Report,
    watermark: bool,
    first: int = 0,
) -> Iterator[Step]:
    """The frames of the output from number `first` on, in order, and what became of each.

    Args:
        models: The trained parts.
        reader: The video.
        roles: Who gets a new mouth; each is drawn over what the ones before left.
        timeline: Which source frame is shown when.
        report: Where times and lip references are noted.
        watermark: Whether new mouths carry the watermark.
        first: The first frame that is wanted.
    """
    # The face references of the first frame lie before it, and those of the next role before those.
    start = max(0, first - BEHIND * len(roles))
    for role in roles:
        _note_resumed(models.morphable, role, timeline.source_index[:first], report)
    steps = decoded(reader, timeline, report, start)
    for number, role in enumerate(roles, 1):
        wanted = max(0, first - BEHIND * (len(roles) - number))
        steps = Dubbing(models, reader, role, timeline, report, watermark).frames(steps, start, wanted)
    for place, step in enumerate(steps, start):
        if place >= first:
            yield step


def _note_resumed(model: MorphableModel, role: Speaker, shown: npt.NDArray[np.int64], report: Report) -> None:
    """Note the lip references of what a run before this one has finished, by the source's frames."""
    done = shown[role.dubbed[: len(shown)] & role.analysis.usable[shown]]
    for shot in np.unique(role.analysis.shot_of[done]):
        _note(report, choose_lip_frames(model, role.analysis, int(shot)))


def _note(report: Report, chosen: npt.NDArray[np.int64]) -> None:
    known = set(report.lip_references)
    report.lip_references += [int(i) for i in chosen if int(i) not in known]


def decoded(reader: VideoReader, timeline: Plan, report: Report, start: int) -> Iterator[Step]:
    """The output's frames as they are in the source, with their output times."""
    rest = timeline.since(start)
    numbered = retimed(frames_in_order(reader, rest.source_index), rest, reader.info)
    while True:
        with report.stage("decode"):
            frame = next(numbered, None)
        if frame is None:
            return
        yield frame, SkipReason.ORIGINAL.value


@dataclass
class _Waiting:
    """A frame between decoding and encoding: what its neighbours and itself need of it.

    Attributes:
        frame: As it will be written.
        before: Why nobody has given it a new mouth so far; None if somebody has.
        reason: Why it gets none here; None if it does.
        shot: Number of its shot.
        blend_weight: How much of the new mouth it shows, 0..1.
        crop: The source's face crop, uint8 (S, S, 3), or its colours where no more is needed; None if there is no
            usable face.
        transform: Picture to crop, (2, 3).
        reference: The frame as a face reference.
    """

    frame: Frame
    before: str | None
    reason: str | None
    shot: int
    blend_weight: float
    crop: npt.NDArray[np.uint8] | None = None
    transform: Array | None = None
    reference: Reference | None = None


@dataclass(frozen=True)
class _Task:
    """A frame and what it is rendered from; no references where it is passed through."""

    waiting: _Waiting
    lips: list[Reference]
    faces: list[Reference]


class Dubbing:
    """Gives one person a new mouth.

    Args:
        models: The trained parts.
        reader: The video.
        role: The person.
        timeline: Which source frame is shown when.
        report: Where times and lip references are noted.
        watermark: Whether new mouths carry the watermark.
    """

    def __init__(
        self, models: Models, reader: VideoReader, role: Speaker, timeline: Plan, report: Report, watermark: bool
    ) -> None:
        self.models, self.reader, self.role, self.report, self.watermark = models, reader, role, report, watermark
        analysis, shown = role.analysis, timeline.source_index
        dubbed = analysis.usable[shown] & role.dubbed
        self._blend_weight = blend_weight(dubbed, analysis.shot_of[shown], yaw_of(analysis.pose)[shown], timeline.time)
        self._places = ProbePoints.of(models.morphable)
        self._lips: tuple[int, list[Reference]] = (-1, [])
        self.crops = FaceCropper(models.morphable, analysis, int(models.stage2.config["size"]))

    def frames(self, steps: Iterable[Step], start: int = 0, first: int = 0) -> Iterator[Step]:
        """Frames with a new mouth. At most a window of face references, and a few frames in work, are held.

        Args:
            steps: The output's frames from number `start` on.
            start: Number of the first of them.
            first: Frames before this one are not rendered: they are references only.
        """
        cut = parallel_map(self._cut_out, self._incoming(steps, start))
        done = parallel_map(self._finished, self._tasks(cut, start, first))
        # An error leaves no threads behind, nor the frames that they hold.
        with closing(cut), closing(done):
            yield from done

    def _incoming(self, steps: Iterable[Step], start: int) -> Iterator[_Waiting]:
        """Say what becomes of each frame."""
        for place, (frame, before) in enumerate(steps, start):
            found = self.role.analysis.reason.get(frame.index)
            shot, share = int(self.role.analysis.shot_of[frame.index]), float(self._blend_weight[place])
            waiting = _Waiting(frame, before, found and found.value, shot, share)
            if not self.role.dubbed[place]:
                waiting.reason = SkipReason.ORIGINAL.value
            elif found is None and share == 0:
                waiting.reason = SkipReason.PROFILE.value
            yield waiting

    def _cut_out(self, waiting: _Waiting) -> _Waiting:
        """Cut out and encode the face."""
        if waiting.frame.index not in self.role.analysis.reason:
            with self.report.stage("references"):
                index = waiting.frame.index
                waiting.transform = self.crops.transform(index)
                known = self.role.faces and self.role.faces.lookup(index)
                if known and index not in self.role.analysis.occlusions:
                    waiting.reference, waiting.crop = known
                else:
                    waiting.crop = self.crops.cut(waiting.frame)
                    waiting.reference = known[0] if known else self._encode(index, waiting.crop)
        return waiting

    def _encode(self, index: int, crop: npt.NDArray[np.uint8]) -> Reference:
        return self.crops.encode(self.models.stage2, index, crop)

    def _tasks(self, cut: Iterable[_Waiting], start: int, first: int) -> Iterator[_Task]:
        """Each frame with its references."""
        window: deque[_Waiting] = deque()
        place, number = 0, start  # of the next frame to leave, in the window and in the output
        for waiting in cut:
            window.append(waiting)
            if len(window) - place > AHEAD:
                yield self._task(window, place, number >= first)
                place, number = place + 1, number + 1
            while place > BEHIND:
                window.popleft()
                place -= 1
        while place < len(window):
            yield self._task(window, place, number >= first)
            place, number = place + 1, number + 1

    def _task(self, window: deque[_Waiting], place: int, wanted: bool) -> _Task:
        waiting = window[place]
        if waiting.reason is not None or not wanted:
            return _Task(waiting, [], [])
        near = (window[int(i)] for i in face_references(place, len(window)))
        faces = [w.reference for w in near if w.shot == waiting.shot and w.reference is not None]
        return _Task(waiting, self._lip_references(waiting.shot), faces)

    def _finished(self, task: _Task) -> Step:
        """Give a frame its new mouth."""
        waiting = task.waiting
        if not task.lips:
            # That this role was not wanted here says less than why another could not be met.
            mine = None if waiting.reason == SkipReason.ORIGINAL.value else waiting.reason
            return waiting.frame, waiting.before and (mine or waiting.before)
        with self.report.stage("geometry"):
            target = self._target(waiting.frame)
        with self.report.stage("render"):
            rendered = self.models.stage2.render(target, task.lips, task.faces)
        with self.report.stage("composite"):
            composed = self._composed(waiting, rendered, target.face.numpy())
        if composed is None:
            return waiting.frame, waiting.before and SkipReason.OUTSIDE.value
        return composed, None

    def _target(self, frame: Frame) -> GeometryMap:
        """Geometry of the new words at the frame's own time, under the frame's own pose and upper face."""
        model, index = self.models.morphable, frame.index
        shape = model.shape(self.role.analysis.shots[self.role.analysis.shot_of[index]].alpha)
        generated = shape + self.role.motion.displacement_at(frame.time, shape - model.mean)
        video = self.role.analysis.vertices(model, index)
        vertices = self.crops.place(model.join(generated, video), index)
        return geometry_map(model, vertices, self.crops.size, (self.crops.place(video, index),))

    def _composed(self, waiting: _Waiting, rendered: npt.NDArray[np.uint8], mask: Array) -> Frame | None:
        """The frame with its new mouth; None if that lies outside the picture."""
        assert waiting.crop is not None and waiting.transform is not None
        matched = match_colours(rendered, waiting.crop, mask)
        if self.watermark:
            matched = embed_watermark(matched, waiting.frame.time)
        width, height = self.reader.info.upright_size
        shown = waiting.blend_weight * mask * self._visible(waiting)
        patch = to_image(matched, shown, waiting.transform, width, height)
        if patch is None:
            return None
        return waiting.frame.pasted(patch.pixels, patch.mask, patch.left, patch.top)

    def _visible(self, waiting: _Waiting) -> Array | float:
        """Where nothing is in front of the face."""
        index, analysis = waiting.frame.index, self.role.analysis
        if index not in analysis.occlusions:
            return 1.0
        assert waiting.crop is not None and waiting.transform is not None
        shape = analysis.shots[analysis.shot_of[index]].alpha
        points = self._places.at(shape, analysis.beta[index], analysis.pose[index])
        return visibility(analysis.occlusions[index], apply_transform(waiting.transform, points), waiting.crop)

    def _lip_references(self, shot: int) -> list[Reference]:
        """Lip references of a shot, fetched and encoded once."""
        if self._lips[0] != shot:
            with self.report.stage("references"):
                chosen = choose_lip_frames(self.models.morphable, self.role.analysis, shot)
                kept = self.role.lips.get(shot)
                lips = kept or [self._encode(*found) for found in self.crops.fetch(self.reader, chosen)]
                self._lips = (shot, [merge_references(lips)])
            _note(self.report, chosen)
        return self._lips[1]


def choose_lip_frames(model: MorphableModel, analysis: Analysis, shot: int) -> npt.NDArray[np.int64]:
    """Lip references of a shot by Algorithm 1, as frame numbers of the video, from closed to open."""
    span = analysis.shots[shot]
    frames = span.start + np.flatnonzero(analysis.usable[span.start : span.stop])
    if len(frames) == 0:
        raise MediaError(f"{analysis.info.path}: shot {shot} has no usable face")
    bare = frames[analysis.lips_hidden[frames] == 0]
    frames = bare if len(bare) else frames
    return frames[lip_references(analysis.openings(model, frames), LIP_REFERENCES)]
