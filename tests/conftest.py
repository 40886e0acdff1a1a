"""Fixtures that all tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import tiny
from hypothesis import HealthCheck, settings

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.pipeline.weights import Models

# How long an example takes depends on what else the machine does.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# Processes that tests start find the tests' own functions by it; last, so that the installed package is tested.
sys.path.append(str(ROOT))


@pytest.fixture(scope="session", autouse=True)
def own_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep certificates that are made for tests out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))
        for name in ("PERSONATALK_CERTIFICATE", "PERSONATALK_PRIVATE_KEY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    """The morphable model of the package."""
    return MorphableModel.load()


@pytest.fixture(scope="session")
def models() -> Models:
    """The weights of the package, read once."""
    return Models.load()


@pytest.fixture(scope="session")
def tiny_models() -> Models:
    """Small random networks: enough for every test that does not look at the mouth."""
    return tiny.tiny_models()


@pytest.fixture
def drawn_faces(tiny_models: Models) -> Iterator[None]:
    """Let everything that looks for faces find drawn ones, and the command line take the tiny networks."""
    with tiny.in_place(tiny_models):
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real clips and foreign networks, beside the repository."""
    if not (SHARED / "clips" / "val").is_dir():
        pytest.skip("real clips are not here: ../shared")
    return SHARED
