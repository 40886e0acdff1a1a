"""Readers of data set layouts, on made-up trees of those layouts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from personatalk.errors import MediaError
from personatalk.training.data.layouts import LAYOUTS, find_videos, guess_layout, with_speakers

TREES: dict[str, list[str]] = {
    "voxceleb2": [
        "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4",
        "dev/mp4/id00012/21Uxsk56VDQ/00002.mp4",
        "dev/mp4/id00015/0fijmz4vTVU/00001.mp4",
        "dev/aac/id00012/21Uxsk56VDQ/00001.m4a",
        "vox2_meta.csv",
    ],
    "celebvhq": ["processed/M2Ohb0FAaJU_1.mp4", "processed/M2Ohb0FAaJU_2.mp4", "processed/-5NXRE8L-7A_0.mp4"],
    "vfhq": [
        "VFHQ/Clip+_0tf2n3rlJU+P0+C1+F13096-13220/00000000.png",
        "VFHQ/Clip+_0tf2n3rlJU+P0+C1+F13096-13220/00000001.png",
        "VFHQ/Clip+_0tf2n3rlJU+P2+C0+F1-99.mp4",
    ],
    "hdtf": ["RD_Radio1_000.mp4", "RD_Radio11_000.mp4", "WDA_BarackObama_000.mp4", "WRA_MarcoRubio1_000.mp4",
             "WRA_MarcoRubio2_000.mp4", "WDA_BarackObama_001.mp4"],
    "folder": ["a/one.mp4", "a/two.MOV", "b.webm", "notes.txt"],
}  # fmt: skip
SPEAKERS = {
    "voxceleb2": {"id00012": 2, "id00015": 1},
    "celebvhq": {"M2Ohb0FAaJU": 2, "-5NXRE8L-7A": 1},
    "vfhq": {"_0tf2n3rlJU+P0": 1, "_0tf2n3rlJU+P2": 1},
    "hdtf": {"RD_Radio1": 1, "RD_Radio11": 1, "WDA_BarackObama": 2, "WRA_MarcoRubio": 2},
    "folder": {"a": 2, "b_webm": 1},
}


def grow(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize("layout", TREES)
def test_a_layout_is_told_and_its_speakers_are_known(tmp_path: Path, layout: str) -> None:
    root = grow(tmp_path, TREES[layout])
    assert guess_layout(root) == layout
    found = find_videos(root)
    speakers: dict[str, int] = {}
    for source in found:
        speakers[source.speaker] = speakers.get(source.speaker, 0) + 1
        assert source.video.exists()
        assert re.fullmatch(r"[\w+-]+", source.key)
    assert speakers == SPEAKERS[layout]
    assert len({s.key for s in found}) == len(found)
    assert found == sorted(find_videos(root, layout), key=lambda s: s.key)


def test_sound_that_lies_apart_is_found(tmp_path: Path) -> None:
    found = find_videos(grow(tmp_path, TREES["voxceleb2"]))
    sounds = {s.key: s.audio for s in found}
    apart = tmp_path / "dev/aac/id00012/21Uxsk56VDQ/00001.m4a"
    assert sounds == {
        "id00012__21Uxsk56VDQ__00001": apart,
        "id00012__21Uxsk56VDQ__00002": None,
        "id00015__0fijmz4vTVU__00001": None,
    }


def test_a_folder_of_pictures_is_one_video(tmp_path: Path) -> None:
    videos = [s.video.name for s in find_videos(grow(tmp_path, TREES["vfhq"]))]
    assert videos == ["Clip+_0tf2n3rlJU+P0+C1+F13096-13220", "Clip+_0tf2n3rlJU+P2+C0+F1-99.mp4"]


def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    (source,) = find_videos(grow(tmp_path, ["one.mp4"]) / "one.mp4")
    assert (source.key, source.speaker) == ("one_mp4", "one_mp4")


def test_long_names_are_shortened_and_stay_apart(tmp_path: Path) -> None:
    names = [f"{'说话的人' * 15}{n}.mp4" for n in "ab"] + [f"{'x' * 150}{n}.mp4" for n in "ab"] + ["可.mp4", "口.mp4"]
    found = find_videos(grow(tmp_path, names))
    assert len({s.key for s in found}) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9_+-]{1,64}", s.key) for s in found)
    assert [s.key for s in find_videos(tmp_path)] == [s.key for s in found]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file or folder"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(MediaError, match="no video in the layout 'hdtf'"):
        find_videos(grow(tmp_path, TREES["folder"]), "hdtf")
    with pytest.raises(MediaError, match="choose from"):
        find_videos(tmp_path, "imagenet")
    assert set(LAYOUTS) == set(TREES)


def test_a_table_says_who_is_seen(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"")
    table = tmp_path / "who.csv"
    table.write_text("file,speaker,note\nclips/a.mp4,Ann,x\nb.mp4,Ann,\nc.mp4,,\n")
    found = with_speakers(find_videos(tmp_path, "folder"), table)
    assert [s.speaker for s in found[:2]] == ["Ann", "Ann"]
    assert found[2].speaker == find_videos(tmp_path, "folder")[2].speaker
    table.write_text("name,who\na.mp4,Ann\n")
    with pytest.raises(MediaError, match="columns 'file' and 'speaker'"):
        with_speakers(found, table)
    with pytest.raises(MediaError, match=r"nowhere\.csv"):
        with_speakers(found, tmp_path / "nowhere.csv")
