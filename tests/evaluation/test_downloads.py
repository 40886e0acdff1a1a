"""The cache of networks: by path, from the cache, or by download and checksum."""

from __future__ import annotations

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from personatalk.errors import WeightsError
from personatalk.evaluation import downloads


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the temporary folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def served(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> downloads.Source:
    """A made-up network behind an address, as a file of an archive."""
    monkeypatch.setenv("PERSONATALK_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("net.onnx", b"weights")
    source = downloads.Source("net.onnx", f"{address}/pack.zip", hashlib.sha256(b"weights").hexdigest(), "net.onnx")
    monkeypatch.setitem(downloads.SOURCES, "arcface", source)
    return source


def test_networks_are_found_by_path_cache_or_download(served: downloads.Source, tmp_path: Path) -> None:
    assert downloads.locate("arcface", tmp_path / "mine.onnx") == tmp_path / "mine.onnx"
    assert downloads.locate("arcface", None) is None
    fetched = downloads.locate("arcface", None, download=True)
    assert fetched == tmp_path / "cache" / "net.onnx" and fetched.read_bytes() == b"weights"
    (tmp_path / "pack.zip").unlink()
    assert downloads.locate("arcface", None) == fetched
    assert downloads.locate("lpips", None, download=True) is None
    fetched.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"net\.onnx.*delete it"):
        downloads.locate("arcface", None)


def test_a_download_of_another_file_is_refused_and_not_kept(
    served: downloads.Source, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(downloads.SOURCES, "arcface", replace(served, sha256="0" * 64))
    with pytest.raises(WeightsError, match="SHA-256 is"):
        downloads.locate("arcface", None, download=True)
    monkeypatch.setitem(downloads.SOURCES, "arcface", replace(served, url=f"{address}/gone.zip"))
    with pytest.raises(WeightsError, match=r"cannot be fetched.*put net\.onnx into"):
        downloads.locate("arcface", None, download=True)
    assert list((tmp_path / "cache").iterdir()) == []
