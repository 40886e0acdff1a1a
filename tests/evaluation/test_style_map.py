"""The map of speaking styles."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.plain_video import write_video

from personatalk.errors import FaceError, PersonaTalkError
from personatalk.evaluation import style_map
from personatalk.evaluation.style_map import Point
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.sample import sample_files
from personatalk.stage1.style_similarity import StyleSimilarityEncoder


def points(speakers: int = 3, each: int = 5, spread: float = 0.05) -> list[Point]:
    random = np.random.default_rng(0)
    found = []
    for speaker in range(speakers):
        for number in range(2 * each):
            style = np.eye(8, dtype=np.float32)[speaker] + spread * random.standard_normal(8).astype(np.float32)
            found.append(Point(f"s{speaker}", number >= each, style / np.linalg.norm(style)))
    return found


@pytest.mark.slow
def test_speakers_that_keep_together_have_a_high_silhouette(tmp_path: Path) -> None:
    apart, mixed = points(), points(spread=5.0)
    assert style_map.silhouette(apart) > 0.9 > 0.2 > style_map.silhouette(mixed)
    assert style_map.nearest_original(apart) == 1 > style_map.nearest_original(mixed)
    assert np.isnan(style_map.silhouette(points(speakers=1)))
    places = style_map.place(apart)
    assert places.shape == (30, 2)
    np.testing.assert_array_equal(places, style_map.place(apart))
    style_map.draw(apart, places, tmp_path / "maps" / "map.png")
    image = cv2.imread(str(tmp_path / "maps" / "map.png"))
    assert image.shape[0] > 400 and len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    with pytest.raises(PersonaTalkError, match="too few"):
        style_map.place(apart[:3])


def test_dubs_belong_to_the_video_that_they_are_called_after(tmp_path: Path) -> None:
    for name in ("ann.mp4", "ann2.mp4", "ann.own.mp4", "ann2__french.mkv"):
        (tmp_path / name).write_bytes(b"")
    found = {f.name: s for f, s in style_map.videos_of(tmp_path, {"ann.mp4": "Ann", "ann2.mp4": "Other Ann"})}
    assert found == {
        "ann.mp4": "Ann",
        "ann2.mp4": "Other Ann",
        "ann.own.mp4": "Ann",
        "ann2__french.mkv": "Other Ann",
    }
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.mp4").write_bytes(b"")
    assert dict(style_map.videos_of(tmp_path, {}))[tmp_path / "deep" / "x.mp4"] == "deep"
    with pytest.raises(PersonaTalkError, match="no folder with videos"):
        style_map.videos_of(tmp_path / "nowhere", {})


def test_a_speaker_is_not_the_one_whose_name_begins_alike(tmp_path: Path) -> None:
    for folder in ("ann", "bob"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "01.own.mp4").write_bytes(b"")
    (tmp_path / "id10.own.mp4").write_bytes(b"")
    found = dict(style_map.videos_of(tmp_path, {"ann/01": "Ann", "bob/01": "Bob", "id1": "One"}))
    assert found[tmp_path / "ann" / "01.own.mp4"] == "Ann"
    assert found[tmp_path / "bob" / "01.own.mp4"] == "Bob"
    assert found[tmp_path / "id10.own.mp4"] == "id10"


@pytest.mark.slow
def test_a_video_is_cut_into_stretches(model: MorphableModel, tmp_path: Path) -> None:
    encoder = StyleSimilarityEncoder.load()
    found = style_map.points_of(sample_files()[0], "nobody", False, encoder, model)
    assert len(found) >= 1
    assert all(np.linalg.norm(p.style) == pytest.approx(1, abs=1e-5) for p in found)
    blank = write_video(tmp_path / "blank.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 30)
    with pytest.raises(FaceError, match="no usable face"):
        style_map.points_of(blank, "nobody", False, encoder, model)
