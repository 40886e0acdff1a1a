"""Published networks by name: given by path, found in the user's cache, or fetched from their authors by checksum."""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..errors import WeightsError
from ..utils.files import sha256

# Seconds without an answer after which a download is given up.
TIMEOUT = 60


@dataclass(frozen=True)
class Source:
    """Address of a network's authors.

    Attributes:
        file: Its name in the cache.
        url: Of the file, or of a ZIP archive that holds it.
        sha256: Of the file.
        member: Its place in the archive; "" where the address is the file's own.
    """

    file: str
    url: str
    sha256: str
    member: str = ""


# Addresses of the authors, and checksums as other projects that load these files publish them.
SOURCES = {
    "arcface": Source(
        "w600k_r50.onnx",
        "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
        "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        "w600k_r50.onnx",
    ),
    "inception": Source(
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
    "i3d": Source(
        "i3d_torchscript.pt",
        "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
        "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
    ),
    "syncnet": Source(
        "syncnet_v2.model",
        "http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
        "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
    ),
}


def cache_folder() -> Path:
    """Return the cache: `$PERSONATALK_CACHE`, or `personatalk` in the user's cache folder."""
    own = os.environ.get("PERSONATALK_CACHE")
    return Path(own) if own else platformdirs.user_cache_path("personatalk", appauthor=False)


def locate(name: str, given: Path | None, download: bool = False) -> Path | None:
    """Find a network.

    Args:
        name: One of `SOURCES`, or another, which then is never in the cache.
        given: The path that the user gave.
        download: Whether it may be fetched.

    Returns:
        Its path; None where there is none.

    Raises:
        WeightsError: The file in the cache has another checksum, or the download failed.
    """
    source = SOURCES.get(name)
    if given is not None or source is None:
        return given
    cached = cache_folder() / source.file
    if cached.is_file():
        if sha256(cached) != source.sha256:
            raise WeightsError(f"{cached}: not the file that its name promises (SHA-256 differs); delete it")
        return cached
    if not download:
        return None
    _fetch(source, cached)
    return cached


def _fetch(source: Source, cached: Path) -> None:
    """Download to a folder beside the cached file, check, and only then give it its name."""
    try:
        import pooch
    except ImportError as error:
        raise WeightsError("--download needs pooch; install: pip install 'personatalk[eval]'") from error
    pooch.get_logger().setLevel("WARNING")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as work:
            downloaded = pooch.retrieve(
                source.url,
                known_hash=None,  # that of an archive is not published: the file in it is checked below
                path=work,
                fname="download",
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
                processor=pooch.Unzip([source.member], "members") if source.member else None,
            )
            file = Path(work, "members", source.member) if source.member else Path(downloaded)
            found = sha256(file)
            if found != source.sha256:
                raise WeightsError(f"{source.url}: SHA-256 is {found}, not {source.sha256}; nothing was kept")
            file.replace(cached)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{source.url}: cannot be fetched ({reason}); put {source.file} into {cached.parent}"
        ) from error
