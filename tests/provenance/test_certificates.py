"""The local certificate: made once, for the user alone, by any number of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from personatalk.provenance import certificates
from personatalk.provenance.signer import Signer


def test_the_local_certificate_is_made_once_for_the_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "configuration" / "signing"
    first, second = Signer.local_signer(folder), Signer.local_signer(folder)
    assert (first.chain, first.key, first.local) == (second.chain, second.key, True)
    assert "nobody vouches for it" in first.warnings[0] and not second.warnings
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in first.chain and first.chain.count(b"BEGIN") == 2


@pytest.mark.slow
def test_jobs_that_start_at_once_share_one_certificate(tmp_path: Path) -> None:
    code = "import sys; from personatalk.provenance.signer import Signer; print(hash(Signer.load().key), sys.argv)"
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
    write = certificates.write_pair

    def slow(own: Path) -> None:
        if not folder.exists():
            folder.mkdir()
            write(folder)
        write(own)

    monkeypatch.setattr(certificates, "write_pair", slow)
    certificates.make_local_pair(folder)
    winner = (folder / "key.pem").read_bytes()
    assert Signer.local_signer(folder).key == winner
    assert [p.name for p in tmp_path.iterdir()] == ["signing"]
