"""Writes a data set: parts of single videos, a journal of what is done, shards and a manifest."""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...audio.rates import FPS, SAMPLE_RATE
from ...errors import MediaError
from ...geometry.camera import CROP_SIZE
from . import shards
from .layouts import VideoSource
from .options import PrepareOptions
from .outcomes import PrepareOutcome, source_stamp
from .shards import Clip


class DatasetWriter:
    """A data set that is being made: parts, journal, shards and manifest.

    Args:
        folder: Folder of the data set; made if needed.
        options: The criteria by which clips are kept.
        shard_bytes: Size from which on parts are packed into a shard.

    Raises:
        MediaError: The folder cannot be written, or holds a data set made with other options.
    """

    def __init__(self, folder: Path, options: PrepareOptions, shard_bytes: int = 256 << 20) -> None:
        self.folder, self.options, self.shard_bytes = folder, options, shard_bytes
        self.parts = folder / "parts"
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            for draft in self.parts.glob("*.part"):
                draft.unlink()
            self._check_options()
        except OSError as error:
            raise MediaError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
        self.journal = folder / "journal.jsonl"
        self.done = {outcome.key: outcome for outcome in self._read_journal()}
        self.shards = sorted(p for p in folder.glob("shard-*.tar") if p.with_suffix(".json").exists())
        self.packed = {entry.key for shard in self.shards for entry in shards.read_index(shard)}
        self._waiting = [o.key for o in self.done.values() if o.clips and o.clips[0] not in self.packed]
        for outcome in self.done.values():
            if outcome.clips and outcome.clips[0] in self.packed:
                self._part(outcome.key).unlink(missing_ok=True)

    def _check_options(self) -> None:
        path = self.folder / "options.json"
        if not path.exists():
            shards.write_json(path, self.options.as_json())
        before = json.loads(path.read_text())
        other = [name for name, value in self.options.as_json().items() if before.get(name) != value]
        if other:
            raise MediaError(f"{self.folder}: made with another {', '.join(other)}; choose another folder")

    def remaining(self, sources: list[VideoSource]) -> list[VideoSource]:
        """Return the sources that are not done yet.

        Raises:
            MediaError: A source has the key of another video that is done.
        """
        for source in sources:
            known = self.done.get(source.key)
            if known is not None and known.stamp != source_stamp(source):
                raise MediaError(
                    f"{source.video}: the data set has another video under the name {source.key}; choose another folder"
                )
        return [source for source in sources if source.key not in self.done]

    def _read_journal(self) -> Iterator[PrepareOutcome]:
        """Yield the outcomes of the journal; a line that a kill cut off is dropped."""
        if not self.journal.exists():
            return
        text = self.journal.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            os.truncate(self.journal, len(whole.encode()))
        for line in whole.splitlines():
            yield PrepareOutcome(**json.loads(line))

    def _part(self, key: str) -> Path:
        return self.parts / f"{key}.tar"

    def add(self, outcome: PrepareOutcome) -> None:
        """Record a video that a worker has finished."""
        self.done[outcome.key] = outcome
        if outcome.again:
            return
        with self.journal.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
        if outcome.clips and outcome.clips[0] not in self.packed:
            self._waiting.append(outcome.key)
            if sum(self._part(key).stat().st_size for key in self._waiting) >= self.shard_bytes:
                self.pack()

    def pack(self) -> None:
        """Put all waiting parts into a shard."""
        if not self._waiting:
            return
        shard = self.folder / f"shard-{len(self.shards):06d}.tar"
        clips = (clip for key in self._waiting for clip in _read_part(self._part(key)))
        self.packed |= {entry.key for entry in shards.write_shard(shard, clips)}
        self.shards.append(shard)
        for key in self._waiting:
            self._part(key).unlink()
        self._waiting = []

    def finish(self) -> dict[str, Any]:
        """Pack the remaining parts, write the manifest and return it."""
        self.pack()
        entries = [entry for shard in self.shards for entry in shards.read_index(shard)]
        rejected: Counter[str] = Counter()
        for outcome in self.done.values():
            rejected.update(outcome.rejected)
        manifest = {
            "version": shards.FORMAT_VERSION,
            "fps": FPS,
            "sample_rate": SAMPLE_RATE,
            "crop": CROP_SIZE,
            "shards": [shard.name for shard in self.shards],
            "videos": len(self.done),
            "clips": len(entries),
            "speakers": len({e.speaker for e in entries}),
            "hours": sum(e.frames for e in entries) / FPS / 3600,
            "splits": dict(Counter(e.split for e in entries)),
            "mute_clips": sum(not e.has_audio for e in entries),
            "rejected": dict(rejected),
            "offsets": dict(Counter(str(o.offset) for o in self.done.values() if o.offset is not None)),
            "options": self.options.as_json(),
        }
        shards.write_json(self.folder / "manifest.json", manifest)
        return manifest


def _read_part(part: Path) -> Iterator[Clip]:
    """Yield the clips of a part, one at a time."""
    members: dict[str, bytes] = {}
    last = None
    with tarfile.open(part) as tar:
        for member in tar:
            key, suffix = member.name.split(".", 1)
            if last is not None and key != last:
                yield Clip.from_members(last, members)
                members = {}
            content = tar.extractfile(member)
            assert content is not None
            last, members[suffix] = key, content.read()
    if last is not None:
        yield Clip.from_members(last, members)
