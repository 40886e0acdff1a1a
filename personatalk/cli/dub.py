"""The command `personatalk dub`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import OptionError
from ..pipeline.options import DubOptions, WeightPaths
from ..utils.files import is_pipe
from ..utils.options import with_options
from .options import Commands, Groups, add_command, add_options, add_quiet
from .progress import add_progress, open_progress

EXAMPLES = (
    "personatalk dub --sample -o sample.mp4",
    "personatalk dub video.mp4 speech.wav -o dubbed.mp4",
    "personatalk dub two-people.mp4 speech.wav -o dubbed.mp4 --face left",
    "personatalk dub interview.mp4 --cue cues.csv -o dubbed.mp4",
    "personatalk dub video.mp4 speech.wav -o dubbed.mp4 --style lively.mp4 --style-strength 1.2",
)

# Headings of the options that `dub` and `batch` share, in the order of their help.
HEADINGS = ("what is dubbed", "whose face", "persona and style", "encoding", "provenance", "models")


def add_dub(commands: Commands) -> None:
    """Add `personatalk dub`."""
    dub = add_command(
        commands,
        "dub",
        "dub a video with a speech",
        "Write VIDEO with its mouth saying SPEECH. The image outside the face, size, frame rate, timestamps and other"
        " tracks stay. The output says that it was generated, unless --no-provenance is given: in its tags, in a signed"
        " C2PA manifest and in an invisible watermark.",
        EXAMPLES,
    )
    groups = Groups(dub, *HEADINGS)
    dubbed = groups["what is dubbed"]
    dubbed.add_argument("video", nargs="?", type=Path, metavar="VIDEO", help="video of a person speaking")
    dubbed.add_argument(
        "speech", nargs="?", type=Path, metavar="SPEECH", help="audio file, a video with audio, or - for a pipe"
    )
    dubbed.add_argument(
        "--cue", type=Path, metavar="FILE", help="who says what when, instead of SPEECH; docs/cues.md has the format"
    )
    dubbed.add_argument("--sample", action="store_true", help="dub the sample clip of the package")
    add_dub_options(groups)
    output = groups["output"]
    output.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="video to write")
    output.add_argument("--report", type=Path, metavar="FILE.json", help="write what was done, as JSON")
    add_quiet(output, "no progress bars, no summary")
    add_progress(output)
    dub.set_defaults(run=dub_command)


def add_dub_options(groups: Groups) -> None:
    """Add the options that `dub` and `batch` share."""
    add_options(groups, DubOptions)
    add_options(groups, WeightPaths)


def dub_command(given: argparse.Namespace) -> int:
    """Run `personatalk dub`."""
    from ..pipeline.report import check_report
    from ..pipeline.request import DubRequest, speech_request
    from ..sample import sample_files

    if given.sample and (given.video is not None or given.cue is not None):
        raise OptionError("--sample takes the place of VIDEO and SPEECH; give one or the other")
    video, speech = sample_files() if given.sample else (given.video, given.speech)
    if video is None or (speech is None) == (given.cue is None):
        raise OptionError("give VIDEO and SPEECH, VIDEO and --cue, or --sample")
    said = speech if given.cue is None else given.cue
    check_report(given.report, [video, said, given.output])
    options = with_options(DubOptions(), vars(given))
    # Before anything large is imported, so that what will not do is told at once; a pipe can only be read once.
    if given.cue is not None:
        DubRequest.of_cues(video, given.cue, given.output, options).check()
    elif not is_pipe(speech):
        with speech_request(video, speech, given.output, options) as request:
            request.check()
    from ..pipeline.dub import dub, dub_cues

    models = with_options(WeightPaths(), vars(given)).load()
    work = dub if given.cue is None else dub_cues
    with open_progress(given) as progress:
        report = work(video, said, given.output, options=options, models=models, progress=progress)
    if given.report is not None:
        report.write(given.report)
    if not given.quiet:
        print("\n".join(report.summary()))
    return 0
