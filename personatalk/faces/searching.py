"""The tracker of a video in which nobody is chosen: fast where a face is large and upright, thorough elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from ..utils.arrays import Array, Image
from .boxes import Box, face_box, same_face
from .landmarks import MAX_FACES, FaceMeshTracker, FaceTracker
from .mesh import FaceMesh
from .multi_face import MultiFaceTracker
from .presence import FacePresence, agree


class SearchingTracker:
    """A `FaceTracker` that believes the face mesh where a second look agrees, and searches where it sees nobody.

    The mesh alone misses faces that are small in the image, and lays upright landmarks on faces that are upside down.

    Args:
        mesh: Finds large faces of the whole image.
        open_search: Opens the tracker that is asked where the mesh sees nobody.
        presence: Takes the second look at faces that are new; the search's own, so that it knows where they were.
    """

    def __init__(self, mesh: FaceTracker, open_search: Callable[[], FaceTracker], presence: FacePresence) -> None:
        self._mesh, self._open_search, self._presence = mesh, open_search, presence
        self._search: FaceTracker | None = None
        self._known: list[Box] = []

    def detect(self, rgb: Image) -> list[Array]:
        """See `FaceTracker.detect`."""
        seen = self._mesh.detect(rgb)
        faces = [face for face in seen if self._believed(rgb, face)]
        self._known = [face_box(face) for face in faces]
        if seen and len(faces) == len(seen):
            self._presence.remember(faces)
            return faces
        self._search = self._search or self._open_search()
        more = self._search.detect(rgb)
        return faces + [face for face in more if not any(same_face(face_box(face), known) for known in self._known)]

    def close(self) -> None:
        """See `FaceTracker.close`."""
        self._mesh.close()
        if self._search is not None:
            self._search.close()

    def _believed(self, rgb: Image, face: Array) -> bool:
        if any(same_face(face_box(face), known) for known in self._known):
            return True
        again = self._presence.look(rgb, face)
        return again is not None and agree(face, again)


def open_searching_tracker(max_faces: int = MAX_FACES) -> SearchingTracker:
    """Open a searching tracker."""
    mesh = FaceMesh()
    tracker, presence = FaceMeshTracker(max_faces, mesh), FacePresence(mesh)
    return SearchingTracker(tracker, lambda: MultiFaceTracker(mesh, max_faces, presence), presence)
