"""Several faces at once, and who is who."""

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
from helpers.sample_clips import decoded, sample_frames, write_sound, write_video
from helpers.synthetic import smooth_picture

import personatalk
from personatalk import DubOptions
from personatalk.cli.main import main
from personatalk.errors import FaceError
from personatalk.faces.analysis import SkipReason, analyse
from personatalk.faces.boxes import face_box, same_face
from personatalk.faces.follow import BoxFollower
from personatalk.faces.landmarks import open_tracker
from personatalk.faces.multi_face import open_multi_face_tracker, tiles
from personatalk.faces.people import People
from personatalk.faces.resolution import merge_choices, resolve_choice
from personatalk.faces.selection import FaceSearch
from personatalk.faces.tracklets import MAX_SNAPSHOTS, TrackletLinker, frontality
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.reader import VideoReader
from personatalk.sample import sample_files
from personatalk.utils.arrays import Array

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


# ---------------------------------------------------------------------------------------------- the tracker


def small_pair(face: int) -> np.ndarray:
    """A wide picture of two faces of some width in pixels, of 1280."""
    one, two = (people_clips.fitted(frames, 2 * face) for frames in sample_pair(1))
    room = canvas(1280, 720)
    for left, picture in ((150, one[0]), (800, two[0])):
        room[300 : 300 + 2 * face, left : left + 2 * face] = picture
    return room


def test_small_faces_of_a_wide_picture_are_all_found_in_its_first_frame() -> None:
    picture = small_pair(90)
    with closing(open_multi_face_tracker()) as crowd, closing(open_tracker(max_faces=5)) as plain:
        assert len(crowd.detect(picture)) == 2
        assert len(plain.detect(picture)) < 2, "MediaPipe finds them itself: the detector of our own is not needed"


def test_one_face_is_seen_as_by_the_tracker_of_one() -> None:
    frames = sample_frames(8)
    with closing(open_multi_face_tracker()) as crowd, closing(open_tracker()) as plain:
        for rgb in frames:
            (ours,), (theirs,) = crowd.detect(rgb), plain.detect(rgb)
    eyes = np.linalg.norm(theirs[33, :2] - theirs[263, :2])
    assert np.linalg.norm(ours - theirs, axis=1)[:468].mean() < 0.03 * eyes


def test_a_new_face_is_found_within_a_few_frames_and_a_lost_one_at_once() -> None:
    both, nobody = small_pair(120), canvas(1280, 720)
    one = both.copy()
    one[:, 640:] = nobody[:, 640:]
    with closing(open_multi_face_tracker()) as crowd:
        counts = [len(crowd.detect(rgb)) for rgb in [one, one, both, both, both, one, nobody, both]]
    assert counts[:2] == [1, 1] and counts[4] == 2 and counts[5:] == [1, 0, 2]


def test_no_face_is_seen_in_clouds_and_no_more_than_asked_for() -> None:
    with closing(open_multi_face_tracker(max_faces=1)) as crowd:
        assert crowd.detect(smooth_picture(120, 260, 15)) == []
        assert len(crowd.detect(small_pair(120))) == 1


@pytest.mark.parametrize(("width", "height", "count"), [(512, 512, 1), (600, 512, 1), (1920, 1080, 3), (720, 1280, 3)])
def test_tiles_cover_the_picture(width: int, height: int, count: int) -> None:
    parts = tiles(width, height)
    assert len(parts) == count and parts[0] == (0, 0, width, height)
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in parts[1:]:
        assert right - left == bottom - top == min(width, height)
        covered[top:bottom, left:right] = True
    assert count == 1 or covered.all()


# ---------------------------------------------------------------------------------------------- who is who


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


class Colour:
    """A recogniser by the colour under the nose."""

    threshold = 10.0

    def embed(self, image: np.ndarray, landmarks: Array) -> Array:
        x, y = landmarks[1, :2].round().astype(int)
        return image[y, x].astype(np.float32)


def fake_face(x: float, y: float = 100, side: float = 60) -> Array:
    marks = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3)).astype(np.float32)
    marks[[1, 234, 454]] = [[0, 0, 0], [-0.5, 0, 0], [0.5, 0, 0]]
    return marks * np.float32(side) + np.array([x, y, 0], np.float32)


def linked(*frames: list[float], cuts: tuple[int, ...] = ()) -> list[tuple[list[int], bool]]:
    """Frames of each tracklet, and whether it is doubtful, of faces at some places."""
    linker, rgb = TrackletLinker(Colour()), np.zeros((200, 600, 3), np.uint8)
    for number, places in enumerate(frames):
        linker.take(number, rgb, [fake_face(x) for x in places], number in cuts)
    return [(tracklet.frames, tracklet.ambiguous) for tracklet in linker.tracklets]


def test_a_face_is_followed_and_others_are_not_taken_for_it() -> None:
    assert linked([100], [110], [120, 400], [130, 405]) == [([0, 1, 2, 3], False), ([2, 3], False)]
    assert linked([100], [300]) == [([0], False), ([1], False)]
    assert linked([100], [101], [102], cuts=(1,)) == [([0], False), ([1, 2], False)]


def test_a_short_absence_is_bridged_by_its_motion_and_a_long_one_is_not() -> None:
    assert linked([100], [120], [140], [], [], [200], [220]) == [([0, 1, 2, 5, 6], False)]
    assert linked([100], [100], [], [], [], [], [], [], [100]) == [([0, 1], False), ([8], False)]


def test_tracklets_end_where_two_faces_meet() -> None:
    found = linked([100, 200], [120, 180], [140, 165], [160, 145], [190, 120], [210, 100])
    assert [ambiguous for _, ambiguous in found[:2]] == [False, False]
    assert all(max(frames) < 3 for frames, _ in found[:2])
    after = [frames for frames, ambiguous in found if not ambiguous and 5 in frames]
    assert len(after) == 2 and all(min(frames) > 2 for frames in after)
    assert any(ambiguous for _, ambiguous in found)


def test_one_face_left_in_front_of_another_is_soon_followed_again() -> None:
    alone = [[200.0 - 10 * i] for i in range(10)]
    found = linked([100, 240], [120, 220], [140, 205], *alone)
    assert found[-1] == (list(range(found[-1][0][0], 13)), False)
    assert len(found[-1][0]) >= 6 and len(found) <= 6


def test_the_pictures_of_a_tracklet_do_not_grow_with_its_length() -> None:
    linker, rgb = TrackletLinker(Colour()), np.zeros((200, 600, 3), np.uint8)
    for number in range(700):
        linker.take(number, rgb, [fake_face(200)], False)
    (tracklet,) = linker.tracklets
    frames = np.array([snapshot.frame for snapshot in tracklet.snapshots])
    assert MAX_SNAPSHOTS / 2 <= len(frames) <= MAX_SNAPSHOTS
    assert np.diff(frames).min() > 20 and frames[-1] > 600


def test_frontality_falls_as_the_head_turns() -> None:
    face = fake_face(0)
    values = []
    for nose in (0, 10, 20, 29, 40):
        turned = face.copy()
        turned[1, 0] += nose
        values.append(frontality(turned))
    assert values[0] == 1 and values[-1] == 0
    assert values == sorted(values, reverse=True)


# ---------------------------------------------------------------------------------------------- choosing


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
    stranger = 255 - cv2.resize(pair[0][3], None, fx=1.3, fy=1.0)[..., ::-1] // 2
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


def test_boxes_of_one_face() -> None:
    box = face_box(fake_face(100))
    assert same_face(box, face_box(fake_face(115)))
    assert not same_face(box, face_box(fake_face(150)))


# ---------------------------------------------------------------------------------------------- commands


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
    ("words", "said"),
    [
        (["-o", "sheet.mp4"], "picture format"),
        (["-o", "none/sheet.png"], "folder does not exist"),
        (["--json", "VIDEO"], "the video itself"),
        (["-o", "a.png", "--json", "a.png"], "cannot be one file"),
    ],
)
def test_faces_refuses_names_before_the_work(
    tmp_path: Path,
    together: Scene,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = together.path.read_bytes()
    assert main(["faces", str(together.path), *(str(together.path) if w == "VIDEO" else w for w in words)]) == 1
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
    assert main(["dub", str(together.path), speech, "-o", "out.mp4", "--quiet", "--face", face]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
