"""The command `personatalk cues`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import OptionError, OutputError
from ..utils.files import same_file
from .options import Commands, Groups, add_command


def add_cues(commands: Commands) -> None:
    """Add `personatalk cues`."""
    cues = add_command(commands, "cues", "make lists of cues", "A list of cues says who speaks when; see docs/cues.md.")
    steps = cues.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_from_srt(steps)


def _add_from_srt(steps: Commands) -> None:
    command = add_command(
        steps,
        "from-srt",
        "make cues from subtitles with speakers",
        "Write the cues of SUBTITLES (SRT or WebVTT), whose speakers are named as [Name], Name: or <v Name>, and of the"
        " speech files that say their words.",
        (
            "personatalk cues from-srt scene.srt --speech-folder french --face Anna=left --face Ben=right -o cues.txt",
            "personatalk dub scene.mp4 --cue cues.txt -o dubbed.mp4",
        ),
    )
    groups = Groups(command, "cues", "output")
    words = groups["cues"]
    words.add_argument("subtitles", type=Path, metavar="SUBTITLES", help="file in SRT or WebVTT")
    speech = words.add_mutually_exclusive_group(required=True)
    speech.add_argument(
        "--speech-folder",
        type=Path,
        metavar="FOLDER",
        help="speech files, each called like the number of its subtitle (7.wav, 0007_anna.mp3), or like a speaker and"
        " then as long as the video (Anna.wav)",
    )
    speech.add_argument(
        "--speech-list", type=Path, metavar="FILE", help="text with one speech file a line, one for each subtitle"
    )
    words.add_argument(
        "--face",
        action="append",
        default=[],
        metavar="NAME=WHO",
        help="the face of a speaker, as --face of dub takes it; once for each, where there are several",
    )
    groups["output"].add_argument("-o", "--output", type=Path, required=True, metavar="CUES.txt", help="file to write")
    command.set_defaults(run=run_from_srt)


def run_from_srt(given: argparse.Namespace) -> int:
    """Run `personatalk cues from-srt`."""
    from ..pipeline.cues import write_cues
    from ..pipeline.subtitle_cues import cues_of_subtitles, speech_in_folder, speech_in_list, spoken_lines

    faces = dict(_face(word) for word in given.face)
    inputs = [path for path in (given.subtitles, given.speech_list) if path is not None]
    if any(same_file(given.output, path) for path in inputs):
        raise OutputError(f"the output {given.output} is an input; name another")
    if given.speech_folder is not None:
        find = speech_in_folder(given.speech_folder)
    else:
        lines, _ = spoken_lines(given.subtitles, faces)
        find = speech_in_list(given.speech_list, [line.subtitle.number for line in lines])
    made = cues_of_subtitles(given.subtitles, find, faces)
    write_cues(given.output, made.cues)
    print(f"{given.output}: {len(made.cues)} cues" + (f" of {', '.join(made.speakers)}" if made.speakers else ""))
    for note in made.notes:
        print(f"  note: {note}")
    return 0


def _face(word: str) -> tuple[str, str]:
    name, sign, who = word.partition("=")
    if not (sign and name.strip() and who.strip()):
        raise OptionError(f"--face {word}: write NAME=WHO, such as Anna=left")
    return name.strip(), who.strip()
