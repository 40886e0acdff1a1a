"""Selection of the face that is followed through a video, as far as a user may choose it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import MediaError
from ..geometry.morphable_model import MorphableModel
from ..media.reader import VideoReader
from ..utils.files import sha256
from ..utils.progress import Progress
from .choice import FaceImage, parse_choice
from .follow import BoxFollower, FaceFollower, LargestFaceFollower
from .landmarks import FaceTracker
from .multi_face import open_multi_face_tracker
from .people import People, scan_people
from .recognition import open_recogniser
from .resolution import read_reference, resolve_choice
from .searching import open_searching_tracker


@dataclass(frozen=True)
class FaceSearch:
    """Options of the search for a face in a video.

    Attributes:
        face: What `--face` takes; None for the largest face of each shot, without telling people apart.
        identity: ArcFace network in ONNX; None takes the appearance in the video.
        known: Everybody in the video, where that is known already.
    """

    face: str | None = None
    identity: Path | str | None = None
    known: People | None = None

    def check(self) -> None:
        """Find errors that show before the video is read.

        Raises:
            FaceError: The words name no face, or an image that cannot be read.
        """
        if self.face is not None:
            choice = parse_choice(self.face)
            if isinstance(choice, FaceImage):
                read_reference(choice.path)

    def described(self) -> str:
        """Return what the search depends on, files by their content: equal texts find the same face.

        Raises:
            MediaError: A file cannot be read.
        """
        choice = None if self.face is None else parse_choice(self.face)
        image = choice.path if isinstance(choice, FaceImage) else None
        words = {"face": self.face} if self.face is not None and image is None else {}
        identity = None if choice is None else self.identity  # without a choice nobody is told from others
        files = {"picture": image, "identity": identity}
        try:
            words |= {name: sha256(file) for name, file in files.items() if file is not None}
        except OSError as error:
            raise MediaError(f"{error.filename}: cannot be read ({error.strerror})") from error
        return json.dumps(words)

    def people(self, reader: VideoReader, model: MorphableModel, progress: Progress | None = None) -> People:
        """Find everybody in a video; see `people.scan_people`."""
        recogniser = open_recogniser(model, self.identity)
        with closing(open_multi_face_tracker()) as tracker:
            return scan_people(reader, tracker, recogniser, progress)

    @contextmanager
    def open(
        self, reader: VideoReader, model: MorphableModel, progress: Progress | None = None
    ) -> Iterator[tuple[FaceTracker, FaceFollower]]:
        """Open the tracker and the follower of the chosen face, for `analysis.analyse`.

        Args:
            reader: The video; where a face is chosen, one pass over it finds everybody.
            model: The morphable model, whose shape tells people apart.
            progress: Told about that pass.

        Raises:
            FaceError: The video shows nobody, or not the chosen person.
            MediaError: The file is damaged.
            WeightsError: The network cannot be read.
        """
        if self.face is None:
            with closing(open_searching_tracker()) as tracker:
                yield tracker, LargestFaceFollower()
            return
        people = self.known or self.people(reader, model, progress)
        chosen = resolve_choice(people, self.face)
        with closing(open_multi_face_tracker()) as multi:
            yield multi, BoxFollower(people.track(*chosen))


def find_people(
    video: Path | str,
    *,
    model: MorphableModel | None = None,
    identity: Path | str | None = None,
    progress: Progress | None = None,
) -> People:
    """Find everybody who is seen in a video.

    Args:
        video: The video.
        model: The morphable model, whose shape tells people apart; the package's where None.
        identity: ArcFace network in ONNX; None tells people apart by their appearance in the video.
        progress: Told about the progress.

    Returns:
        People by number, with their boxes and times; `DubOptions.face` takes the numbers.

    Raises:
        MediaError: The file cannot be read.
        FaceError: It shows nobody.
        WeightsError: A network cannot be read.
    """
    search = FaceSearch(identity=identity)
    with VideoReader(video) as reader:
        return search.people(reader, model or MorphableModel.load(), progress)
