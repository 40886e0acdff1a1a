"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from personatalk.geometry import MorphableModel

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    """The morphable model of the package."""
    return MorphableModel.load()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real clips and foreign networks, beside the repository."""
    if not (SHARED / "clips" / "val").is_dir():
        pytest.skip("real clips are not here: ../shared")
    return SHARED
