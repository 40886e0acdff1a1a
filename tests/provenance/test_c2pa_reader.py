"""The manifest reader: what is changed after signing is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import c2pa
import pytest
from helpers.media_clips import Clip, make
from helpers.signing import RANGES, packets

from personatalk.errors import CredentialsError
from personatalk.provenance.c2pa_reader import read_credentials
from personatalk.provenance.c2pa_writer import Input, can_hold_manifest
from personatalk.provenance.certificates import LOCAL_NAME
from personatalk.provenance.signer import SETTINGS, Signer, native_signer
from personatalk.provenance.verify import Verification
from personatalk.provenance.watermark import WatermarkResult


def test_the_manifest_says_what_was_generated(signed: Path, clip: Path) -> None:
    found = read_credentials(signed)
    assert (found.state, found.problems, found.generated) == ("valid", [], True)
    assert found.ranges == RANGES
    assert found.inputs == [Input("video", "clip.mp4", hashlib.sha256(clip.read_bytes()).hexdigest())]
    assert found.generator.startswith("PersonaTalk ")
    assert (found.signer, found.trusted) == (LOCAL_NAME, False)


def test_one_changed_byte_of_the_media_is_noticed(signed: Path) -> None:
    content = bytearray(signed.read_bytes())
    sample = next(p[4] for p in packets(signed) if p[0] == 0)
    content[content.index(sample) + len(sample) // 2] ^= 1
    signed.write_bytes(content)
    found = read_credentials(signed)
    assert found.state == "invalid"
    assert any("mismatch" in problem for problem in found.problems)


def test_a_changed_claim_is_noticed(signed: Path) -> None:
    content = signed.read_bytes()
    assert content.count(b"generated lower face") == 1
    signed.write_bytes(content.replace(b"generated lower face", b"generated upper face"))
    assert read_credentials(signed).state == "invalid"


def test_a_destroyed_manifest_is_invalid_and_an_odd_file_has_none(signed: Path, clip: Path, tmp_path: Path) -> None:
    content = signed.read_bytes()
    place = content.index(b"jumb")
    signed.write_bytes(content[: place + 4] + bytes(64) + content[place + 68 :])
    assert read_credentials(signed).state == "invalid"
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(clip.read_bytes()[:-500])
    assert read_credentials(odd).state == "none"


def test_a_file_without_a_manifest(clip: Path, tmp_path: Path) -> None:
    assert read_credentials(clip).state == "none"
    assert read_credentials(make(Clip(tmp_path / "clip.mkv"))).state == "none"
    assert not can_hold_manifest("a.mkv") and not can_hold_manifest("a.webm") and can_hold_manifest("a.MP4")


def other_program(source: Path, target: Path, camera: bool) -> Path:
    """Sign as a camera does, or as a cutting program that takes the source as parent."""
    with c2pa.Context.from_dict(SETTINGS) as context, c2pa.Builder({}, context) as builder:
        if camera:
            builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CAPTURE)
        else:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            with source.open("rb") as parent:
                builder.add_ingredient({"title": "parent", "relationship": "parentOf"}, "video/mp4", parent)
        with source.open("rb") as unsigned, target.open("x+b") as out:
            builder.sign(native_signer(Signer.load()), "video/mp4", unsigned, out)
    return target


def test_what_another_program_signs_on_top_hides_nothing(signed: Path, tmp_path: Path) -> None:
    found = read_credentials(other_program(signed, tmp_path / "cut.mp4", camera=False))
    assert (found.state, found.generated, found.ranges) == ("valid", True, RANGES)
    assert not found.generator.startswith("PersonaTalk")


def test_a_camera_does_not_say_that_anything_was_generated(clip: Path, tmp_path: Path) -> None:
    found = read_credentials(other_program(clip, tmp_path / "camera.mp4", camera=True))
    assert (found.state, found.generated, found.ranges) == ("valid", False, [])
    seen = Verification("camera.mp4", found, WatermarkResult())
    assert not seen.anything and any("nothing of generated parts" in line for line in seen.summary())


def test_anchors_that_are_none_are_an_error(tmp_path: Path, signed: Path) -> None:
    (tmp_path / "text.pem").write_text("nothing")
    for name in ("text.pem", "none.pem"):
        with pytest.raises(CredentialsError, match=name.replace(".", r"\.")):
            read_credentials(signed, tmp_path / name)
