"""The people of real clips, and the choice of one of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import people_clips
from helpers.people_clips import SIDE, Scene, assigned, beside, canvas, crossing, found, mistakes, sample_pair, swapped
from helpers.sample_clips import decoded, write_sound, write_video
from helpers.synthetic import smooth_picture

import personatalk
from personatalk import DubOptions
from personatalk.cli.main import main
from personatalk.errors import FaceError
from personatalk.faces.analysis import SkipReason, analyse
from personatalk.faces.follow import BoxFollower
from personatalk.faces.multi_face import open_multi_face_tracker
from personatalk.faces.people import People
from personatalk.faces.resolution import merge_choices, resolve_choice
from personatalk.faces.selection import FaceSearch
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.reader import VideoReader
from personatalk.sample import sample_files

pytestmark = pytest.mark.slow

COUNT = 40


def everybody(video: Path, model: MorphableModel, identity: Path | None = None) -> People:
    with VideoReader(video) as reader:
        return FaceSearch(identity=identity).people(reader, model)


def away(path: Path, one: people_clips.Frames, two: people_clips.Frames) -> Scene:
    return people_clips.away(path, one, two, 14, 28)


@pytest.fixture(scope="module")
def pair() -> tuple[list[np.ndarray], list[np.ndarray]]:
    return sample_pair(COUNT)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, pair: tuple[list[np.ndarray], list[np.ndarray]]) -> Scene:
    """Two people side by side; the second comes a little later."""
    return people_clips.away(tmp_path_factory.mktemp("pair") / "two.mp4", *pair, 0, 6)


@pytest.fixture(scope="module")
def people(together: Scene, model: MorphableModel) -> People:
    return everybody(together.path, model)


@pytest.mark.parametrize("make", [beside, crossing, swapped, away])
def test_nobody_is_taken_for_somebody_else(
    tmp_path: Path,
    pair: tuple[list[np.ndarray], list[np.ndarray]],
    model: MorphableModel,
    make: Callable[[Path, people_clips.Frames, people_clips.Frames], Scene],
) -> None:
    made = make(tmp_path / "clip.mp4", *pair)
    people = everybody(made.path, model)
    assert len(people) == 2
    assert mistakes(people, made.truth) == 0
    assert found(people, made.truth) > 0.9


REAL = [
    ("mimictalk_German_20s.mp4", "dfrf_french.mp4"),
    ("hdtf_RD_Radio13.mp4", "lipnet_pytorch_s31__bgiq6p.mpg"),
]


@pytest.mark.real_clips
@pytest.mark.parametrize("make", [crossing, swapped])
@pytest.mark.parametrize("names", REAL)
def test_real_people_are_told_apart(
    shared: Path,
    tmp_path: Path,
    model: MorphableModel,
    names: tuple[str, str],
    make: Callable[[Path, people_clips.Frames, people_clips.Frames], Scene],
) -> None:
    clips = []
    for name in names:
        with VideoReader(shared / "clips" / "val" / name) as reader:
            clips.append(people_clips.fitted([frame.rgb() for frame in reader.frames(0, COUNT)]))
    made = make(tmp_path / "clip.mp4", *clips)
    people = everybody(made.path, model)
    assert len(people) == 2
    assert mistakes(people, made.truth) == 0
    assert found(people, made.truth) > 0.9


@pytest.mark.real_clips
def test_a_network_tells_them_apart_where_there_is_one(shared: Path, people: People, model: MorphableModel) -> None:
    network = shared / "evaluators" / "mobilefacenet_arcface_112.onnx"
    pytest.importorskip("onnxruntime")
    if not network.is_file():
        pytest.skip("the network is not here: ../shared/evaluators")
    again = everybody(people.info.path, model, identity=network)
    np.testing.assert_array_equal(again.boxes, people.boxes)
    assert again.persons[0].embedding.shape != people.persons[0].embedding.shape


def test_numbers_go_by_area_and_pictures_are_small_and_few(people: People, together: Scene) -> None:
    assert [person.number for person in people.persons] == [1, 2]
    assert set(assigned(people, together.truth, 1)) == {0}
    assert [person.frames for person in people.persons] == people.seen().sum(axis=1).tolist() == [COUNT, COUNT - 6]
    area = np.nansum(np.prod(people.boxes[..., 2:] - people.boxes[..., :2], axis=-1), axis=1)
    assert area[0] > area[1]
    for person in people.persons:
        assert 2 <= len(person.snapshots) <= 6
        frames = [snapshot.frame for snapshot in person.snapshots]
        assert frames == sorted(set(frames)) and people.seen(person.number)[0, frames].all()
        assert person.snapshots[0].rgb().shape == (128, 128, 3)


def test_nobody_in_the_video(tmp_path: Path, model: MorphableModel) -> None:
    plain = write_video(tmp_path / "plain.mp4", [np.full((128, 128, 3), 80, np.uint8)] * 5)
    with pytest.raises(FaceError, match=r"plain\.mp4: no face"):
        everybody(plain, model)


def number_of(people: People, scene: Scene, who: int) -> int:
    """The number under which one of the two was found."""
    return next(p.number for p in people.persons if who in assigned(people, scene.truth, p.number))


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ("left", 0),
        ("right", 1),
        ("largest", 0),
        ("left@1", 0),
        ("right@0", 0),
        ("right@1", 1),
        ("centre@1", 1),
        ("0.2,0.5", 0),
        ("0.8,0.5@1", 1),
        ("650,140@1.2", 1),
    ],
)
def test_people_are_chosen_by_place(people: People, together: Scene, words: str, who: int) -> None:
    assert resolve_choice(people, words) == (number_of(people, together, who),)


def test_people_are_chosen_by_number_and_by_picture(
    people: People, together: Scene, tmp_path: Path, pair: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    assert [resolve_choice(people, str(n)) for n in (1, 2)] == [(1,), (2,)]
    for who, frames in enumerate(pair):
        cv2.imwrite(str(tmp_path / "whole.png"), frames[20][..., ::-1])
        cv2.imwrite(str(tmp_path / "tight.png"), frames[20][60:235, 70:218, ::-1])
        for name in ("whole.png", "tight.png"):
            assert resolve_choice(people, str(tmp_path / name)) == (number_of(people, together, who),)


def test_several_numbers_of_one_person(people: People) -> None:
    with pytest.raises(FaceError, match=r"--face 1\+2: the frame at .* shows more than one of them"):
        resolve_choice(people, "1+2")
    boxes = people.boxes.copy()
    boxes[0, 20:], boxes[1, :20] = np.nan, np.nan
    split = replace(people, boxes=boxes)
    assert resolve_choice(split, "2+1") == (1, 2)
    followed, faces = BoxFollower(split.track(1, 2)), [_face_on(box) for box in people.boxes[:, 0]]
    assert followed.follow(faces, cut=False) is faces[0]
    assert merge_choices([(1,), (2,), (1, 3), (4,)]) == [(1, 3), (2,), (1, 3), (4,)]


def _face_on(box: np.ndarray) -> np.ndarray:
    return np.array([[box[0], box[1], 0], [box[2], box[3], 0]], np.float32)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("7", "--face 7: the video shows 2 people; 'personatalk faces "),
        ("0.95,0.05@1", "it shows 1 at "),
        ("0.8,0.5", "it shows 1 at "),
        ("left@60", "the video ends at 1.56 s"),
        ("somebody", "names no face"),
    ],
)
def test_errors_say_who_is_there(people: People, words: str, said: str) -> None:
    with pytest.raises(FaceError) as caught:
        resolve_choice(people, words)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_reference_pictures_that_do_not_do(
    people: People, tmp_path: Path, pair: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    stranger = cv2.resize(pair[0][3], None, fx=1.3, fy=1.0)  # as it is: written with red and blue exchanged
    pictures = {
        "two.png": (np.hstack([pair[0][0], pair[1][0]]), "shows 2 faces"),
        "none.png": (smooth_picture(120, 160, 15), "shows no face"),
        "stranger.png": (stranger, "nobody in the video looks like this face"),
    }
    for name, (picture, said) in pictures.items():
        cv2.imwrite(str(tmp_path / name), picture)
        with pytest.raises(FaceError, match=said) as caught:
            resolve_choice(people, str(tmp_path / name))
        assert str(caught.value).startswith(str(tmp_path / name))
    (tmp_path / "text.png").write_text("no picture")
    for name, said in (("text.png", "not an image"), ("missing.png", "cannot be read")):
        with pytest.raises(FaceError, match=said):
            resolve_choice(people, str(tmp_path / name))


def test_the_chosen_face_is_followed_and_no_other(together: Scene, people: People, model: MorphableModel) -> None:
    second = number_of(people, together, 1)
    with VideoReader(together.path) as reader, closing(open_multi_face_tracker()) as crowd:
        analysis = analyse(reader, crowd, model, follower=BoxFollower(people.track(second)))
    hidden = np.isnan(together.truth[:, 1, 0])
    assert not analysis.usable[hidden].any()
    assert {analysis.reason[int(i)] for i in np.flatnonzero(hidden)} == {SkipReason.NO_FACE}
    assert analysis.usable[~hidden].sum() >= 0.9 * (~hidden).sum()
    off = np.linalg.norm(analysis.pose[analysis.usable, 4:] - together.truth[analysis.usable, 1], axis=1)
    assert off.max() < 0.25 * SIDE


def test_only_the_chosen_person_is_dubbed(tmp_path: Path, pair: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    made = beside(tmp_path / "in.mp4", *(frames[:8] for frames in pair))
    speech = write_sound(tmp_path / "speech.wav", read_speech(sample_files()[1])[:16000])
    options = DubOptions(encode=EncodeOptions(crf=0, preset="ultrafast"), face="right")
    report = personatalk.dub(made.path, speech, tmp_path / "out.mp4", options=options)
    assert report.dubbed == 8
    half = canvas().shape[1] // 2
    changed = np.zeros(8, bool)
    # At crf 0 x264 loses nothing: what was not touched is the same, to the bit.
    for i, (old, new) in enumerate(zip(decoded(made.path), decoded(tmp_path / "out.mp4"), strict=True)):
        np.testing.assert_array_equal(old[:, :half], new[:, :half])
        changed[i] = np.abs(old[:, half:].astype(int) - new[:, half:]).max() > 10
    assert changed.all()


def test_faces_writes_sheet_list_and_json(tmp_path: Path, together: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, listed = tmp_path / "sheet.png", tmp_path / "people.json"
    assert main(["faces", str(together.path), "-o", str(sheet), "--json", str(listed)]) == 0
    said = capsys.readouterr().out
    assert "2 people in 40 frames" in said and "  1: 40 frames" in said and "  2: 34 frames" in said
    assert cv2.imread(str(sheet)).shape == (2 * (144 + 40), 6 * 144, 3)
    first, second = json.loads(listed.read_text())["people"]
    assert (first["number"], first["frames"], len(first["seen"])) == (1, 40, 1)
    assert first["seen"][0] == {"start": 0.0, "end": 1.6, "box": first["seen"][0]["box"]}
    assert second["seen"][0]["start"] == pytest.approx(0.24)
    assert second["seen"][0]["box"][0] > first["seen"][0]["box"][2]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-o", "sheet.mp4"], 15, "picture format"),
        (["-o", "none/sheet.png"], 15, "folder does not exist"),
        (["--json", "VIDEO"], 10, "the video itself"),
        (["-o", "a.png", "--json", "a.png"], 10, "cannot be one file"),
    ],
)
def test_faces_refuses_names_before_the_work(
    tmp_path: Path,
    together: Scene,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = together.path.read_bytes()
    assert main(["faces", str(together.path), *(str(together.path) if w == "VIDEO" else w for w in words)]) == code
    assert said in capsys.readouterr().err
    assert together.path.read_bytes() == before and not list(tmp_path.iterdir())


def test_inspect_shows_the_chosen_person(
    tmp_path: Path, together: Scene, pair: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    words = ["--face", "right", "-o", str(tmp_path / "sheet.png"), "--frames", "1", "--quiet"]
    assert main(["inspect", str(together.path), *words]) == 0
    shown = cv2.imread(str(tmp_path / "sheet.png"))[:150, :192]
    mean = [frame[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4].mean() for frame in (pair[0][0], pair[1][0])]
    assert shown.mean() < np.mean(mean), "the second person is the darker one"


@pytest.mark.parametrize("face", ["7", "none.png", "nobody"])
def test_a_face_that_is_not_there_leaves_nothing(
    tmp_path: Path, together: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, face: str
) -> None:
    monkeypatch.chdir(tmp_path)
    speech = str(sample_files()[1])
    assert main(["dub", str(together.path), speech, "-o", "out.mp4", "--quiet", "--face", face]) == 11
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
