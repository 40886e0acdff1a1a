"""Content Credentials: what is signed stays as it was, what is changed afterwards is noticed, and who may sign."""

from __future__ import annotations

import datetime
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import av
import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from helpers.media_clips import Clip, make

from personatalk.errors import CredentialsError
from personatalk.media.reader import VideoReader
from personatalk.media.writer import VideoWriter
from personatalk.provenance import c2pa as manifests
from personatalk.provenance import certificates
from personatalk.provenance.c2pa import Input, read, sign
from personatalk.provenance.certificates import Signer
from personatalk.provenance.verify import Verification
from personatalk.provenance.watermark import WatermarkResult

RANGES = [[0.0, 0.48], [0.8, 1.0]]


@dataclass(frozen=True)
class Pair:
    """Certificate chain and key as files, and the authority that signed the certificate."""

    chain: Path
    key: Path
    authority: Path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make(Clip(path, audio=[("aac", 440), ("aac", 880)], subtitles="mov_text", chapters=True))


@pytest.fixture
def signed(tmp_path: Path, clip: Path) -> Path:
    return signed_copy(clip, tmp_path / "signed.mp4", Signer.load())


def signed_copy(clip: Path, path: Path, signer: Signer) -> Path:
    shutil.copy(clip, path)
    sign(path, "title.mp4", clip, [Input.of("video", clip)], RANGES, signer)
    return path


def pair(folder: Path, key: object = None, days: int = 30, usage: bool = True, own_name: str = "Jane Doe") -> Pair:
    """Make a certificate as an authority would."""
    folder.mkdir(exist_ok=True)
    root_key = ec.generate_private_key(ec.SECP256R1())
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)

    def start(subject: str, public: object) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
        builder = builder.subject_name(named(subject)).issuer_name(named("Root")).public_key(public)
        ends = now + datetime.timedelta(days=days)
        return builder.not_valid_before(now - datetime.timedelta(days=60)).not_valid_after(ends)

    root = start("Root", root_key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
    root = root.add_extension(certificates._usage(key_cert_sign=True), True)
    root = root.add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), False)
    leaf = start(own_name, key.public_key()).add_extension(certificates._usage(digital_signature=True), True)
    leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False)
    if usage:
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    done = [builder.sign(root_key, hashes.SHA256()) for builder in (leaf, root)]
    pem = [c.public_bytes(serialization.Encoding.PEM) for c in done]
    files = Pair(folder / "chain.pem", folder / "key.pem", folder / "root.pem")
    files.chain.write_bytes(pem[0] + pem[1])
    files.authority.write_bytes(pem[1])
    files.key.write_bytes(certificates._pkcs8(key))
    return files


def named(common: str) -> x509.Name:
    pairs = ((NameOID.ORGANIZATION_NAME, "Doe Studios"), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def packets(path: Path) -> list[tuple[object, ...]]:
    """Every packet of every stream: its times and its bytes."""
    with av.open(str(path)) as container:
        return [(p.stream_index, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux() if p.size]


# ------------------------------------------------------------------------------------------------ the statement


def test_the_manifest_says_what_was_generated(signed: Path, clip: Path) -> None:
    found = read(signed)
    assert (found.state, found.problems, found.generated) == ("valid", [], True)
    assert found.ranges == RANGES
    assert found.inputs == [Input("video", "clip.mp4", hashlib.sha256(clip.read_bytes()).hexdigest())]
    assert found.generator.startswith("PersonaTalk ")
    assert (found.signer, found.trusted) == (certificates.LOCAL_NAME, False)


@pytest.mark.parametrize("suffix", sorted(manifests.FORMATS))
def test_signing_changes_no_packet(tmp_path: Path, suffix: str) -> None:
    subtitles = None if suffix == ".3gp" else "mov_text"
    plain = make(Clip(tmp_path / f"plain{suffix}", audio=[("aac", 440)], subtitles=subtitles))
    before = packets(plain)
    after = signed_copy(plain, tmp_path / f"signed{suffix}", Signer.load())
    assert packets(after) == before and len(before) > 25
    assert read(after).state == "valid"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([plain.name, after.name])


def test_one_changed_byte_of_the_media_is_noticed(signed: Path) -> None:
    content = bytearray(signed.read_bytes())
    sample = next(p[4] for p in packets(signed) if p[0] == 0)
    content[content.index(sample) + len(sample) // 2] ^= 1
    signed.write_bytes(content)
    found = read(signed)
    assert found.state == "invalid"
    assert any("mismatch" in problem for problem in found.problems)


def test_a_changed_claim_is_noticed(signed: Path) -> None:
    content = signed.read_bytes()
    assert content.count(b"generated lower face") == 1
    signed.write_bytes(content.replace(b"generated lower face", b"generated upper face"))
    assert read(signed).state == "invalid"


def test_a_destroyed_manifest_is_invalid_and_an_odd_file_has_none(signed: Path, clip: Path, tmp_path: Path) -> None:
    content = signed.read_bytes()
    place = content.index(b"jumb")
    signed.write_bytes(content[: place + 4] + bytes(64) + content[place + 68 :])
    assert read(signed).state == "invalid"
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(clip.read_bytes()[:-500])
    assert read(odd).state == "none"


def test_a_file_without_a_manifest(clip: Path, tmp_path: Path) -> None:
    assert read(clip).state == "none"
    assert read(make(Clip(tmp_path / "clip.mkv"))).state == "none"
    assert not manifests.can_hold("a.mkv") and not manifests.can_hold("a.webm") and manifests.can_hold("a.MP4")


def test_the_manifest_of_the_source_is_kept(signed: Path, tmp_path: Path) -> None:
    again = signed_copy(signed, tmp_path / "again.mp4", Signer.load())
    assert read(again).state == "valid"
    assert again.read_bytes().count(manifests.DUB.encode()) > signed.read_bytes().count(manifests.DUB.encode())


def other_program(source: Path, target: Path, camera: bool) -> Path:
    """Sign as a camera does, or as a cutting program that takes the source as parent."""
    with c2pa.Context.from_dict(certificates.SETTINGS) as context, c2pa.Builder({}, context) as builder:
        if camera:
            builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CAPTURE)
        else:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            with source.open("rb") as parent:
                builder.add_ingredient({"title": "parent", "relationship": "parentOf"}, "video/mp4", parent)
        with source.open("rb") as unsigned, target.open("x+b") as out:
            builder.sign(certificates.native_calls(Signer.load()), "video/mp4", unsigned, out)
    return target


def test_what_another_program_signs_on_top_hides_nothing(signed: Path, tmp_path: Path) -> None:
    found = read(other_program(signed, tmp_path / "cut.mp4", camera=False))
    assert (found.state, found.generated, found.ranges) == ("valid", True, RANGES)
    assert not found.generator.startswith("PersonaTalk")


def test_a_camera_does_not_say_that_anything_was_generated(clip: Path, tmp_path: Path) -> None:
    found = read(other_program(clip, tmp_path / "camera.mp4", camera=True))
    assert (found.state, found.generated, found.ranges) == ("valid", False, [])
    seen = Verification("camera.mp4", found, WatermarkResult())
    assert not seen.anything and any("nothing of generated parts" in line for line in seen.summary())


def test_a_source_that_was_tampered_with_does_not_spoil_the_result(signed: Path, tmp_path: Path) -> None:
    content = bytearray(signed.read_bytes())
    content[-100] ^= 1
    signed.write_bytes(content)
    assert read(signed).state == "invalid"
    assert read(signed_copy(signed, tmp_path / "again.mp4", Signer.load())).state == "valid"


def test_a_source_with_a_destroyed_manifest_is_still_named(signed: Path, clip: Path, tmp_path: Path) -> None:
    content = signed.read_bytes()
    place = content.index(b"jumb")
    signed.write_bytes(content[: place + 4] + bytes(64) + content[place + 68 :])
    output = Path(shutil.copy(clip, tmp_path / "out.mp4"))
    sign(output, "title.mp4", signed, [], RANGES, Signer.load())
    assert (read(output).state, read(output).ranges) == ("valid", RANGES)
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


# ------------------------------------------------------------------------------------------------ who signs


def test_the_local_certificate_is_made_once_for_the_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "configuration" / "signing"
    first, second = Signer.local_one(folder), Signer.local_one(folder)
    assert (first.chain, first.key, first.local) == (second.chain, second.key, True)
    assert "nobody vouches for it" in first.warnings[0] and not second.warnings
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in first.chain and first.chain.count(b"BEGIN") == 2


def test_jobs_that_start_at_once_share_one_certificate(tmp_path: Path) -> None:
    code = (
        "import sys; from personatalk.provenance.certificates import Signer; print(hash(Signer.load().key), sys.argv)"
    )
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)}
    jobs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {job.communicate()[0] for job in jobs}
    assert [job.returncode for job in jobs] == [0] * 4
    assert len(said) == 1
    assert [p.name for p in (tmp_path / "personatalk").iterdir()] == ["signing"]


def test_a_race_that_is_lost_takes_the_winners_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "signing"
    write = certificates._write_local

    def slow(own: Path) -> None:
        if not folder.exists():
            folder.mkdir()
            write(folder)
        write(own)

    monkeypatch.setattr(certificates, "_write_local", slow)
    certificates._make_local(folder)
    winner = (folder / "key.pem").read_bytes()
    assert Signer.local_one(folder).key == winner
    assert [p.name for p in tmp_path.iterdir()] == ["signing"]


def test_without_a_place_to_keep_it_a_certificate_serves_one_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    signer = Signer.local_one(tmp_path / "file" / "signing")
    assert "no certificate can be kept" in signer.warnings[0]


def test_a_damaged_local_certificate_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    Signer.local_one(tmp_path / "signing")
    (tmp_path / "signing" / "key.pem").write_text("nothing")
    with pytest.raises(CredentialsError, match=r"delete .*signing"):
        Signer.local_one(tmp_path / "signing")


@pytest.mark.parametrize("kind", ["es256", "es384", "ed25519", "ps256"])
def test_an_own_certificate_signs_and_is_trusted_by_its_authority(tmp_path: Path, clip: Path, kind: str) -> None:
    keys = {
        "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ps256": lambda: rsa.generate_private_key(65537, 2048),
    }
    files = pair(tmp_path / "pair", keys[kind]())
    signer = Signer.load(files.chain, files.key)
    assert (signer.algorithm, signer.name, signer.local) == (kind, "Jane Doe", False)
    output = signed_copy(clip, tmp_path / "out.mp4", signer)
    found = read(output)
    assert (found.state, found.signer, found.issuer, found.trusted) == ("valid", "Jane Doe", "Doe Studios", False)
    assert read(output, files.authority).trusted
    assert not read(output, pair(tmp_path / "other").authority).trusted


def test_the_environment_names_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pair(tmp_path / "pair", own_name="From the environment")
    monkeypatch.setenv("PERSONATALK_CERTIFICATE", str(files.chain))
    with pytest.raises(CredentialsError, match="private key is not given"):
        Signer.load()
    monkeypatch.setenv("PERSONATALK_PRIVATE_KEY", str(files.key))
    assert Signer.load().name == "From the environment"


def test_certificates_that_cannot_sign_are_refused_with_the_reason(tmp_path: Path) -> None:
    good, other = pair(tmp_path / "good"), pair(tmp_path / "other")
    text = tmp_path / "text.pem"
    text.write_text("nothing")
    locked = tmp_path / "locked.pem"
    password = serialization.BestAvailableEncryption(b"secret")
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, password))
    old = pair(tmp_path / "old", days=-1)
    unfit = pair(tmp_path / "unfit", usage=False)
    for chain, secret, words in (
        (good.chain, other.key, r"key\.pem.*does not belong"),
        (good.chain, None, "private key is not given"),
        (None, good.key, "certificate is not given"),
        (text, good.key, r"text\.pem: no certificate in PEM"),
        (good.chain, text, r"text\.pem: no private key in PEM"),
        (good.chain, locked, "encrypted"),
        (tmp_path / "none.pem", good.key, r"none\.pem: the certificate cannot be read"),
        (old.chain, old.key, "valid from .* only"),
        (unfit.chain, unfit.key, "C2PA refuses this certificate"),
        (good.authority, good.key, "does not belong"),
    ):
        with pytest.raises(CredentialsError, match=words):
            Signer.load(chain, secret)


def test_anchors_that_are_none_are_an_error(tmp_path: Path, signed: Path) -> None:
    (tmp_path / "text.pem").write_text("nothing")
    for name in ("text.pem", "none.pem"):
        with pytest.raises(CredentialsError, match=name.replace(".", r"\.")):
            read(signed, tmp_path / name)
