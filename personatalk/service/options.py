"""Options of the service."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from ..errors import PersonaTalkError
from ..utils.options import check_options, option


@dataclass(frozen=True)
class Limits:
    """Limits of what clients may ask for.

    Attributes:
        upload_mb: Largest request.
        media_minutes: Longest video or speech.
        frame_megapixels: Largest frame of a video.
        queue: Most jobs that wait or run.
        job_minutes: Longest time a job may run.
        disk_gb: Most that all jobs together may take.
        keep_hours: Hours after which a finished job is thrown away.
    """

    upload_mb: float = option(2000, "largest upload of a job in MB", metavar="MB", group="limits", least=0.001)
    media_minutes: float = option(30, "longest video or speech", metavar="MINUTES", group="limits", least=0.01)
    frame_megapixels: float = option(
        9, "largest frame of a video; 4K has 8.3", metavar="MEGAPIXELS", group="limits", least=0.001
    )
    queue: int = option(100, "most jobs that wait or run", metavar="N", group="limits", least=1)
    job_minutes: float = option(240, "longest time that a job may run", metavar="MINUTES", group="limits", least=0.01)
    disk_gb: float = option(20, "most that all jobs together may take", metavar="GB", group="limits", least=0)
    keep_hours: float = option(
        24, "hours after which a finished job and its files are thrown away", metavar="HOURS", group="limits", least=0
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class ServiceOptions:
    """Options of the service.

    Attributes:
        host: Address that it listens at.
        port: Port; 0 takes a free one.
        data: Folder of the jobs.
        allow: Folder whose files clients may name.
        personas: Folder of personas that clients may name.
        tokens: File of tokens, one a line.
        without_tokens: Whether everybody who reaches another address than this machine's may use it.
        names: Names by which clients reach it, besides numbers and localhost.
        workers: Processes that dub.
        ray: Ray cluster that works instead.
        webhook: Address that is told of jobs that ended.
        webhook_secret: File of the secret that signs what it is told.
        limits: Limits of what clients may ask for.

    Raises:
        PersonaTalkError: A value is not allowed.
    """

    host: str = option("127.0.0.1", "address to listen at", metavar="ADDRESS", group="service")
    port: int = option(
        8000, "port to listen at; 0 takes a free one", metavar="PORT", group="service", least=0, most=65535
    )
    data: Path | None = option(
        None,
        "folder that keeps the jobs",
        otherwise="service/ in the user's data folder of PersonaTalk",
        metavar="FOLDER",
        group="service",
    )
    allow: Path | None = option(
        None,
        "folder whose files clients may name instead of uploading them",
        otherwise="none",
        metavar="FOLDER",
        group="service",
    )
    personas: Path | None = option(
        None, "folder of the personas that clients may choose", otherwise="none", metavar="FOLDER", group="service"
    )
    tokens: Path | None = option(
        None,
        "file of bearer tokens, one a line; each sees its own jobs only",
        otherwise="none are needed",
        metavar="FILE",
        group="service",
    )
    without_tokens: bool = option(
        False, "let everybody who reaches an address of the network use the service", group="service"
    )
    names: str | None = option(
        None,
        "names by which browsers reach the service, separated by commas",
        otherwise="localhost and numbers",
        metavar="NAMES",
        group="service",
    )
    workers: int = option(1, "processes that dub, one a device", metavar="N", group="service", least=1)
    ray: str | None = option(
        None,
        "dub on this Ray cluster instead; 'local' for a new one here",
        otherwise="processes of this machine",
        metavar="ADDRESS",
        group="service",
    )
    webhook: str | None = option(
        None, "address that is told of every job that ended", otherwise="none", metavar="URL", group="service"
    )
    webhook_secret: Path | None = option(
        None, "file of the secret that signs what the webhook is told", metavar="FILE", group="service"
    )
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_options(self)
        if not (self.is_local or self.tokens or self.without_tokens):
            raise PersonaTalkError(
                f"host {self.host} can be reached by others: give --tokens FILE, or --without-tokens to let all in"
            )
        if self.webhook is not None and not self.webhook.startswith(("http://", "https://")):
            raise PersonaTalkError(f"webhook {self.webhook}: give an address that begins with http:// or https://")
        if (self.webhook is None) != (self.webhook_secret is None):
            raise PersonaTalkError("a webhook needs both --webhook URL and --webhook-secret FILE")
        for folder in (self.allow, self.personas):
            if folder is not None and not folder.is_dir():
                raise PersonaTalkError(f"{folder}: there is no such folder")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def data_folder(self) -> Path:
        """The folder of the jobs."""
        return self.data or platformdirs.user_data_path("personatalk", appauthor=False) / "service"
