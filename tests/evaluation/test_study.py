"""The rating study, and the map of styles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.plain_video import write_video

from personatalk.cli import main
from personatalk.errors import FaceError, PersonaTalkError
from personatalk.evaluation import study, style_map
from personatalk.evaluation.style_map import Point
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.sample import sample_files
from personatalk.stage1.style_similarity import StyleSimilarityEncoder


@pytest.fixture
def systems(tmp_path: Path) -> dict[str, Path]:
    folders = {}
    for name in ("ours", "theirs", "real"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        for clip in ("a", "b", "c"):
            (folders[name] / f"{clip}.mp4").write_bytes(f"{name} {clip}".encode())
    return folders


@pytest.fixture
def made(systems: dict[str, Path], tmp_path: Path) -> Path:
    output = tmp_path / "study"
    pair = {k: systems[k] for k in ("ours", "theirs")}
    assert study.make(pair, systems["real"], output) == 6
    return output


def test_the_page_gives_no_system_away(made: Path) -> None:
    key = json.loads((made / "key.json").read_text())["videos"]
    assert not (made / "page" / "key.json").exists()
    page = (made / "page" / "index.html").read_text()
    items = json.loads(re.search(r"const items = (\[.*\]);", page).group(1))  # type: ignore[union-attr]
    assert {i["video"] for i in items} == set(key)
    assert "ours" not in page and "theirs" not in page
    for item in items:
        entry = key[item["video"]]
        assert (made / "page" / item["video"]).read_bytes() == f"{entry['system']} {entry['clip']}".encode()
        assert (made / "page" / item["original"]).read_bytes() == f"real {entry['clip']}".encode()
    order = [key[i["video"]]["system"] for i in items]
    assert order != sorted(order) and order != sorted(order, reverse=True)
    assert "http" not in page.replace("http-equiv", "")


def test_opinions_are_means_by_system_and_question(made: Path, tmp_path: Path) -> None:
    whole = json.loads((made / "key.json").read_text())
    key, number = whole["videos"], whole["study"]
    files = []
    for rater, (ours, theirs) in enumerate([(5, 2), (4, 1), (5, 3)]):
        marks = {"ours": ours, "theirs": theirs}
        answers = {v: {"visual": marks[e["system"]], "sync": 3} for v, e in key.items()}
        files.append(tmp_path / f"r{rater}.json")
        content = {"study": number, "rater": str(rater), "answers": answers}
        files[-1].write_text(json.dumps(content))
    found = {(o.system, o.question): o for o in study.score(made, files)}
    assert found["ours", "visual"].mean == pytest.approx(14 / 3)
    assert found["theirs", "visual"].mean == pytest.approx(2)
    assert found["ours", "visual"].low >= 4 > 3 >= found["theirs", "visual"].high
    assert found["ours", "visual"].ratings == 9
    assert found["ours", "sync"].low == found["ours", "sync"].high == 3
    assert found["ours", "persona"].ratings == 0
    assert main.main(["study", "score", str(made), *map(str, files)]) == 0
    with pytest.raises(PersonaTalkError, match="answers of one rater"):
        study.score(made, [files[0], files[0]])
    files[0].write_text(json.dumps({"study": "other", "rater": "0", "answers": {}}))
    with pytest.raises(PersonaTalkError, match="another study"):
        study.score(made, files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "not the answers"),
        ("[1]", "not the answers"),
        ('{"answers": {"zz.mp4": {"visual": 3}}}', "does not have"),
        ('{"answers": {"VIDEO": {"visual": 6}}}', "6 is no answer"),
        ('{"answers": {"VIDEO": {"taste": 3}}}', "taste"),
        ('{"answers": {"VIDEO": {"visual": "5"}}}', "'5' is no answer"),
    ],
)
def test_answers_that_are_none_are_refused(made: Path, tmp_path: Path, content: str, message: str) -> None:
    video = next(iter(json.loads((made / "key.json").read_text())["videos"]))
    number = json.loads((made / "key.json").read_text())["study"]
    content = content.replace('{"answers"', f'{{"study": "{number}", "rater": "r", "answers"')
    (tmp_path / "answers.json").write_text(content.replace("VIDEO", video))
    with pytest.raises(PersonaTalkError, match=message):
        study.score(made, [tmp_path / "answers.json"])


def test_a_study_that_cannot_be_made_says_why(
    systems: dict[str, Path], tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (systems["theirs"] / "b.mp4").unlink()
    with pytest.raises(PersonaTalkError, match=r"theirs: lacks b,"):
        study.make({k: systems[k] for k in ("ours", "theirs")}, None, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (systems["real"] / "a.mp4").rename(systems["real"] / "a.mpg")
    with pytest.raises(PersonaTalkError, match=r"a\.mpg: browsers play"):
        study.make({"real": systems["real"]}, None, tmp_path / "other")
    with pytest.raises(PersonaTalkError, match="there already"):
        study.make({"ours": systems["ours"]}, None, made)
    assert main.main(["study", "make", "ours", "-o", str(tmp_path / "x")]) == 1
    assert "NAME=FOLDER" in capsys.readouterr().err
    with pytest.raises(PersonaTalkError, match="no key of a study"):
        study.score(tmp_path, [])


def points(speakers: int = 3, each: int = 5, spread: float = 0.05) -> list[Point]:
    random = np.random.default_rng(0)
    found = []
    for speaker in range(speakers):
        for number in range(2 * each):
            style = np.eye(8, dtype=np.float32)[speaker] + spread * random.standard_normal(8).astype(np.float32)
            found.append(Point(f"s{speaker}", number >= each, style / np.linalg.norm(style)))
    return found


def test_speakers_that_keep_together_have_a_high_silhouette(tmp_path: Path) -> None:
    apart, mixed = points(), points(spread=5.0)
    assert style_map.silhouette(apart) > 0.9 > 0.2 > style_map.silhouette(mixed)
    assert style_map.nearest_original(apart) == 1 > style_map.nearest_original(mixed)
    assert np.isnan(style_map.silhouette(points(speakers=1)))
    places = style_map.place(apart)
    assert places.shape == (30, 2)
    np.testing.assert_array_equal(places, style_map.place(apart))
    style_map.draw(apart, places, tmp_path / "maps" / "map.png")
    picture = cv2.imread(str(tmp_path / "maps" / "map.png"))
    assert picture.shape[0] > 400 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    with pytest.raises(PersonaTalkError, match="too few"):
        style_map.place(apart[:3])


def test_dubs_belong_to_the_video_that_they_are_called_after(tmp_path: Path) -> None:
    for name in ("ann.mp4", "ann2.mp4", "ann.own.mp4", "ann2__french.mkv"):
        (tmp_path / name).write_bytes(b"")
    found = {f.name: s for f, s in style_map.videos_of(tmp_path, {"ann.mp4": "Ann", "ann2.mp4": "Other Ann"})}
    assert found == {
        **{"ann.mp4": "Ann", "ann2.mp4": "Other Ann", "ann.own.mp4": "Ann", "ann2__french.mkv": "Other Ann"}
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


def test_a_video_is_cut_into_stretches(model: MorphableModel, tmp_path: Path) -> None:
    encoder = StyleSimilarityEncoder.load()
    found = style_map.points_of(sample_files()[0], "nobody", False, encoder, model)
    assert len(found) >= 1
    assert all(np.linalg.norm(p.style) == pytest.approx(1, abs=1e-5) for p in found)
    blank = write_video(tmp_path / "blank.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 30)
    with pytest.raises(FaceError, match="no usable face"):
        style_map.points_of(blank, "nobody", False, encoder, model)
