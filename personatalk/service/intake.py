"""What a client gives for a job: what must be given, and where the files go."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import MediaError, PersonaTalkError
from .folders import JobFolders, open_below, shown_name, stored_name
from .form import JobFields
from .options import ServiceOptions

# Bytes that are copied at once.
BLOCK = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A file that a client sent.

    Attributes:
        name: Its name.
        file: Its content.
    """

    name: str
    file: BinaryIO


class Intake:
    """Takes clients' files.

    Args:
        folders: The folders of the jobs.
        options: Options of the service: what paths are allowed, and how much is taken.
    """

    def __init__(self, folders: JobFolders, options: ServiceOptions) -> None:
        self.folders, self.options = folders, options

    def check(self, form: JobFields, has_video: bool, has_speech: bool) -> None:
        """Make sure that a form says one thing of each, and nothing that is not allowed.

        Raises:
            PersonaTalkError: Something is missing, said twice, or not allowed.
        """
        videos = [has_video, form.video_path is not None, form.video_of is not None]
        if sum(videos) != 1:
            raise PersonaTalkError("give the video once: upload it as video, or name it by video_path or video_of")
        speeches = [has_speech, form.speech_path is not None]
        if sum(speeches) != (1 if form.kind == "dub" else 0):
            raise PersonaTalkError("give the speech of a dub once: upload it as speech, or name it by speech_path")
        if form.kind == "dub" and not form.consent:
            raise PersonaTalkError("consent: say that the person who is shown and the owner of the voice agree")
        if self.options.allow is None and (form.video_path is not None or form.speech_path is not None):
            raise PersonaTalkError("this service takes no paths; upload the files")

    def take(self, folder: Path, stem: str, upload: Upload | None, path: str | None) -> tuple[str, str]:
        """Put a client's file into a job's folder.

        Args:
            folder: The folder of the job.
            stem: Name of the file there, without its ending.
            upload: The file, where it was sent.
            path: Its path below the allowed folder, where it was named.

        Returns:
            The name to be shown and the name in the folder.

        Raises:
            PersonaTalkError: There is no such file, or it is empty or too large.
            OSError: It cannot be kept.
        """
        if upload is not None:
            shown = shown_name(upload.name)
            name = stored_name(stem, shown)
            self._copy(upload.file, folder / name, shown)
            return shown, name
        assert path is not None and self.options.allow is not None
        shown = shown_name(path)
        name = stored_name(stem, shown)
        with open_below(self.options.allow, path) as file:
            self._copy(file, folder / name, shown)
        return shown, name

    def _copy(self, source: BinaryIO, target: Path, shown: str) -> None:
        """Copy a file into a job's folder.

        Raises:
            MediaError: It is empty or too large.
        """
        source.seek(0, os.SEEK_END)
        size, most = source.tell(), 1e6 * self.options.limits.upload_mb
        source.seek(0)
        if size == 0:
            raise MediaError(f"{shown} is empty (0 bytes); choose another file")
        if size > most or self.folders.used() + size > 1e9 * self.options.limits.disk_gb:
            raise MediaError(f"{shown}: {size / 1e6:.0f} MB are more than the service takes now")
        with target.open("xb") as file:
            shutil.copyfileobj(source, file, BLOCK)
