"""The rating study."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from personatalk.cli import main
from personatalk.errors import PersonaTalkError
from personatalk.evaluation import study


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
        ratings = {"ours": ours, "theirs": theirs}
        answers = {v: {"visual": ratings[e["system"]], "sync": 3} for v, e in key.items()}
        files.append(tmp_path / f"r{rater}.json")
        content = {"study": number, "rater": str(rater), "answers": answers}
        files[-1].write_text(json.dumps(content))
    found = {(o.system, o.question): o for o in study.score_study(made, files)}
    assert found["ours", "visual"].mean == pytest.approx(14 / 3)
    assert found["theirs", "visual"].mean == pytest.approx(2)
    assert found["ours", "visual"].low >= 4 > 3 >= found["theirs", "visual"].high
    assert found["ours", "visual"].ratings == 9
    assert found["ours", "sync"].low == found["ours", "sync"].high == 3
    assert found["ours", "persona"].ratings == 0
    assert main.main(["study", "score", str(made), *map(str, files)]) == 0
    with pytest.raises(PersonaTalkError, match="answers of one rater"):
        study.score_study(made, [files[0], files[0]])
    files[0].write_text(json.dumps({"study": "other", "rater": "0", "answers": {}}))
    with pytest.raises(PersonaTalkError, match="another study"):
        study.score_study(made, files)


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
        study.score_study(made, [tmp_path / "answers.json"])


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
    assert main.main(["study", "make", "ours", "-o", str(tmp_path / "x")]) == 2
    assert "NAME=FOLDER" in capsys.readouterr().err
    with pytest.raises(PersonaTalkError, match="no key of a study"):
        study.score_study(tmp_path, [])
