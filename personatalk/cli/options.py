"""personatalk.cli.options."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from ..pipeline.options import DubOptions


def gigabytes(words: str) -> float:
    """Parse a size in gigabytes, 0 or more."""
    number = float(words)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{words}: give 0 or more")
    return number


def positive(word: str) -> int:
    """Parse a number of 1 or more."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is not 1 or more")
    return number


def count(word: str) -> int:
    """Parse a number of 0 or more."""
    number = int(word)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{word} is not 0 or more")
    return number


def add_dub_options(dub: argparse.ArgumentParser) -> None:
    """Options of a dub that a batch has as well, for all its jobs."""
    from ..media.options import LengthPolicy

    dub.add_argument(
        "--length",
        choices=get_args(LengthPolicy),
        default="video",
        help="where speech and video differ in length: 'video' (default) keeps all frames and closes the mouth after"
        " the speech; 'video-original' keeps all frames and the original mouth after it; 'shortest' ends with the"
        " shorter; 'pingpong' lasts as long as the speech, playing the video forward and backward",
    )
    add_face_options(dub)
    dub.add_argument("--codec", default="libx264", help="video encoder (default: libx264)")
    dub.add_argument("--crf", type=float, default=13, help="quality, lower is better (default: 13, near-transparent)")
    dub.add_argument("--preset", default="faster", help="speed preset of the encoder (default: faster)")
    dub.add_argument(
        "--silence",
        choices=["rest", "original"],
        default="rest",
        help="in longer silence of the speech: the mouth at rest (default), or the source's",
    )
    dub.add_argument("--persona", type=Path, metavar="FILE", help="the speaker's, from 'personatalk persona make'")
    dub.add_argument("--style", type=Path, metavar="FILE", help="speak in the style of this .persona or video")
    dub.add_argument(
        "--style-strength", type=float, default=1.0, metavar="S", help="0 (nobody's style) to 1.5 (default: 1)"
    )
    add_provenance(dub)


def add_provenance(dub: argparse.ArgumentParser) -> None:
    """Add the options of provenance."""
    group = dub.add_argument_group("provenance", "without a certificate one is made for this machine; nobody trusts it")
    group.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE.pem",
        help="your certificate chain, which signs the manifest (or PERSONATALK_CERTIFICATE)",
    )
    group.add_argument(
        "--private-key", type=Path, metavar="FILE.pem", help="its private key (or PERSONATALK_PRIVATE_KEY)"
    )
    group.add_argument(
        "--no-provenance", action="store_true", help="no tags, no manifest and no mark; the report says so"
    )


def add_face_options(command: argparse.ArgumentParser) -> None:
    """Add the options that choose a face."""
    command.add_argument(
        "--face",
        metavar="WHO",
        help="whose face, where the video shows several people: a number from 'personatalk faces'; left, right, centre"
        " or largest; a place x,y as shares of the picture or in pixels (0.3,0.5 or 0.3,0.5@12.5 with a time in"
        " seconds); or a picture of the person. Without it the largest face is followed",
    )
    add_identity(command)


def add_identity(command: argparse.ArgumentParser) -> None:
    """Add the option of an identity network."""
    command.add_argument("--identity", type=Path, metavar="FILE.onnx", help="ArcFace network that tells people apart")


def add_models(command: argparse.ArgumentParser, networks: bool = True) -> None:
    """Add the options of model files."""
    group = command.add_argument_group("models", "weights of the package where not given")
    group.add_argument("--face-model", type=Path, metavar="FILE.task", help="MediaPipe Tasks face landmarker")
    group.add_argument("--morphable", type=Path, metavar="FILE", help="morphable model, or BFM_model_front.mat")
    group.add_argument("--deep3d", type=Path, metavar="FILE.pth", help="Deep3DFaceRecon's checkpoint, for a .mat")
    if networks:
        group.add_argument("--stage1", type=Path, metavar="FILE", help="geometry generator")
        group.add_argument("--stage2", type=Path, metavar="FILE", help="renderer")


def dub_options(options: argparse.Namespace) -> DubOptions:
    """Return the dub options that were given on the command line."""
    from ..media.options import EncodeOptions
    from ..pipeline.options import DubOptions
    from ..provenance.options import Provenance

    encode = EncodeOptions(codec=options.codec, crf=options.crf, preset=options.preset)
    provenance = Provenance(not options.no_provenance, options.certificate, options.private_key)
    return DubOptions(
        options.length,
        encode,
        options.face_model,
        options.face,
        options.identity,
        provenance,
        options.silence,
        options.persona,
        options.style,
        options.style_strength,
    )
