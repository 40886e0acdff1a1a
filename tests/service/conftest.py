"""Fixtures of the service's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import tiny

from personatalk.media import container


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what workers set for their process to a test."""
    monkeypatch.setattr(container, "_opening", {})


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of a drawn face."""
    return tiny.clip_of(tmp_path_factory.mktemp("service") / "clip.mp4")


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As much speech."""
    return tiny.speech_of(tmp_path_factory.mktemp("service") / "speech.wav")
