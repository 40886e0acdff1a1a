"""Recognition embeddings of made-up faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.synthetic import smooth_picture, talk

from personatalk.errors import WeightsError
from personatalk.faces.recognition import AppearanceRecogniser, open_recogniser
from personatalk.geometry.morphable_model import MorphableModel


def test_appearance_is_that_of_the_face_wherever_it_is(model: MorphableModel) -> None:
    landmarks, image = talk(model, 1, 0.0, scale=80).landmarks[0], smooth_picture(240, 400, 12)
    recogniser = open_recogniser(model)
    assert isinstance(recogniser, AppearanceRecogniser)
    embedding = recogniser.embed(image, landmarks)
    assert embedding.shape == (324 + 27 + model.num_identity,) and embedding.dtype == np.float32
    moved = np.roll(image, (7, 20), axis=(0, 1))
    there = recogniser.embed(moved, landmarks + np.array([20, 7, 0], np.float32))
    elsewhere = recogniser.embed(smooth_picture(240, 400, 12, seed=1), landmarks)
    assert np.linalg.norm(there - embedding) < 0.3 < 0.6 < np.linalg.norm(elsewhere - embedding)


def test_the_given_morphable_model_describes_the_shape(model: MorphableModel) -> None:
    landmarks, image = talk(model, 1, 0.0, scale=80).landmarks[0], smooth_picture(240, 400, 12)
    few = replace(model, identity=model.identity[..., :5])
    assert len(open_recogniser(few).embed(image, landmarks)) == 324 + 27 + 5


def test_a_network_that_is_missing_is_refused(model: MorphableModel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(WeightsError):
        open_recogniser(model, tmp_path / "missing.onnx")
