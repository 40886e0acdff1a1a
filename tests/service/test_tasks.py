"""What clients are told of the work on their jobs."""

from __future__ import annotations

from pathlib import Path

from personatalk.provenance.signer import config_folder
from personatalk.service.tasks import Task


def test_texts_for_clients_name_no_folder_of_the_server(tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    task = Task(1, "dub", tmp_path, video, {str(video): "me.mp4"})
    told = task.public(
        f"{video}: cut; see {tmp_path / 'report.json'}; a certificate was made in {config_folder()}/signing"
    )
    assert told == "me.mp4: cut; see report.json; a certificate was made in the server's settings/signing"
