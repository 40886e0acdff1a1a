"""Fixtures of the tests of provenance."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.media_clips import Clip, make
from helpers.signing import signed_copy

from personatalk.provenance.signer import Signer


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make(Clip(path, audio=[("aac", 440), ("aac", 880)], subtitles="mov_text", chapters=True))


@pytest.fixture
def signed(tmp_path: Path, clip: Path) -> Path:
    return signed_copy(clip, tmp_path / "signed.mp4", Signer.load())
