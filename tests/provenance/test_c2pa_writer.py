"""The manifest writer: what is signed stays as it was, and a failure leaves the file alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.media_clips import Clip, make
from helpers.signing import RANGES, packets, signed_copy

from personatalk.errors import CredentialsError
from personatalk.media.reader import VideoReader
from personatalk.media.writer import VideoWriter
from personatalk.provenance.c2pa_reader import read_credentials
from personatalk.provenance.c2pa_writer import DUB, FORMATS, sign
from personatalk.provenance.signer import Signer


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_signing_changes_no_packet(tmp_path: Path, suffix: str) -> None:
    subtitles = None if suffix == ".3gp" else "mov_text"
    plain = make(Clip(tmp_path / f"plain{suffix}", audio=[("aac", 440)], subtitles=subtitles))
    before = packets(plain)
    after = signed_copy(plain, tmp_path / f"signed{suffix}", Signer.load())
    assert packets(after) == before and len(before) > 25
    assert read_credentials(after).state == "valid"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([plain.name, after.name])


def test_the_manifest_of_the_source_is_kept(signed: Path, tmp_path: Path) -> None:
    again = signed_copy(signed, tmp_path / "again.mp4", Signer.load())
    assert read_credentials(again).state == "valid"
    assert again.read_bytes().count(DUB.encode()) > signed.read_bytes().count(DUB.encode())


def test_a_source_that_was_tampered_with_does_not_spoil_the_result(signed: Path, tmp_path: Path) -> None:
    content = bytearray(signed.read_bytes())
    content[-100] ^= 1
    signed.write_bytes(content)
    assert read_credentials(signed).state == "invalid"
    assert read_credentials(signed_copy(signed, tmp_path / "again.mp4", Signer.load())).state == "valid"


def test_a_source_with_a_destroyed_manifest_is_still_named(signed: Path, clip: Path, tmp_path: Path) -> None:
    content = signed.read_bytes()
    place = content.index(b"jumb")
    signed.write_bytes(content[: place + 4] + bytes(64) + content[place + 68 :])
    output = Path(shutil.copy(clip, tmp_path / "out.mp4"))
    sign(output, "title.mp4", signed, [], RANGES, Signer.load())
    assert (read_credentials(output).state, read_credentials(output).ranges) == ("valid", RANGES)
    assert b"signed.mp4" in output.read_bytes()


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shutil.copy(clip, tmp_path / "out.mp4"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(OSError, match="No space"):
        sign(path, "out.mp4", clip, [], RANGES, Signer.load())
    assert path.read_bytes() == clip.read_bytes() and [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_a_finish_that_fails_leaves_the_old_file_alone(tmp_path: Path, clip: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"an earlier result")

    def fail(path: Path) -> None:
        assert path.stat().st_size > 1000 and path != output
        raise CredentialsError("no")

    with (
        VideoReader(clip) as reader,
        pytest.raises(CredentialsError),
        VideoWriter(output, reader.info, None, finish=fail) as writer,
    ):
        for frame in reader.frames():
            writer.write(frame)
    assert output.read_bytes() == b"an earlier result"
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_a_file_that_cannot_be_signed_is_an_error_and_stays(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"this is not a video" * 100)
    with pytest.raises(CredentialsError, match=r"title\.mp4.*--no-provenance"):
        sign(path, "title.mp4", clip, [], RANGES, Signer.load())
    assert [p.name for p in tmp_path.iterdir()] == ["broken.mp4"]
