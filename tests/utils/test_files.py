"""Fingerprints of files, and writes that are whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from personatalk.utils.files import TEMP_PATTERN, atomic_write, file_stamp, is_file, same_file, sha256, temp_path


@pytest.mark.parametrize("fsync", [True, False])
def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path, fsync=fsync) as draft:
        draft.write_text("new")
        assert path.read_text() == "old" and draft.parent == tmp_path and draft.match(TEMP_PATTERN)
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path, suffix=".npy") as draft:
        assert draft.suffix == ".npy" and draft.match(TEMP_PATTERN)
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_hidden_names_are_never_used_twice(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 200)
    assert temp_path(path) != temp_path(path)
    temp_path(path, ".mp4").touch()  # short enough for any disk


def test_names_of_one_file_are_the_same(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "b"
    assert same_file(path, tmp_path / "." / "a") and not same_file(path, link)
    path.touch()
    link.symlink_to(path)
    assert same_file(path, link)


def test_states_of_a_file_differ(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    before = file_stamp(path)
    path.write_bytes(b"12")
    assert file_stamp(path) != before and file_stamp(path) == file_stamp(str(path))
    assert sha256(path) == hashlib.sha256(b"12").hexdigest()


def test_impossible_names_are_no_files(tmp_path: Path) -> None:
    assert not is_file(tmp_path) and not is_file(tmp_path / ("x" * 5000)) and not is_file(tmp_path / "missing")
