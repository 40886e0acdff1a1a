"""Names and paths of clients: nothing but a harmless suffix is kept, and no link leads out of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personatalk.errors import MediaError
from personatalk.service.folders import JobFolders, open_below, shown_name, stored_name


@given(st.text())
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    stored, shown = stored_name("video", name), shown_name(name)
    assert stored.startswith("video") and Path(stored).name == stored and len(stored) < 12
    assert shown and shown.isprintable() and len(shown) <= 120 and "/" not in shown and "\\" not in shown


def test_a_suffix_is_kept() -> None:
    assert stored_name("video", "A film.MP4") == "video.mp4"
    assert stored_name("video", "a.m/p4") == stored_name("video", "a.tar.gz!") == stored_name("video", ".") == "video"
    assert shown_name("C:\\films\\a film.mp4") == shown_name("../a film.mp4") == "a film.mp4"


def test_only_files_below_a_folder_are_opened(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a").write_text("a")
    (root / "inner").symlink_to("in/a")
    (tmp_path / "secret").write_text("b")
    (root / "outer").symlink_to("../secret")
    (root / "up").symlink_to("..")
    (root / "circle").symlink_to("circle")
    for words in ("in/a", "inner", "./in/../in/a"):
        with open_below(root, words) as file:
            assert file.read() == b"a"
    outside = ["../secret", "outer", "up/secret", str(tmp_path / "secret"), str(root / "in" / "a"), "circle", "", "in"]
    for words in [*outside, "none", "a\0", "x" * 5000, "in/a/b"]:
        with pytest.raises(MediaError, match="there is no such file in the folder"), open_below(root, words):
            pass


def test_folders_that_no_job_knows_are_swept(tmp_path: Path) -> None:
    folders = JobFolders(tmp_path / "jobs")
    for name in ("a", "b"):
        folders.of(name).mkdir()
        (folders.of(name) / "video").write_bytes(bytes(100))
    assert folders.used() == 200
    folders.sweep({"b"})
    assert not folders.of("a").exists() and folders.used() == 100
