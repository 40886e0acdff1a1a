"""The commands `personatalk devices` and `personatalk export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import PersonaTalkError, WeightsError
from ..utils.devices import choose_device, list_devices
from .options import Commands, add_command, require


def add_devices(commands: Commands) -> None:
    """Add `personatalk devices`."""
    devices = add_command(
        commands,
        "devices",
        "list what networks can run on",
        "List the devices for --device: which are there, which one 'auto' takes, and how to install the others.",
    )
    devices.set_defaults(run=run_devices)


def run_devices(given: argparse.Namespace) -> int:
    """Run `personatalk devices`."""
    chosen = choose_device("auto")
    for device in list_devices():
        state = "here" if device.present else "missing"
        print(f"{device.name:<9} {state:<8} {device.description}{' (auto)' if device.name == chosen else ''}")
        if not device.present:
            print(f"{'':<9} {'':<8} {device.install}")
    return 0


def add_export(commands: Commands) -> None:
    """Add `personatalk export`."""
    export = add_command(
        commands,
        "export",
        "write the ONNX graphs of trained networks",
        "Write, beside each weights file of stage 1, stage 2 or the Whisper encoder, the ONNX graphs with which dubbing"
        " runs it. They point into the weights file and are of no use without it.",
        ["personatalk export run/last.safetensors"],
    )
    export.add_argument("weights", nargs="+", type=Path, metavar="FILE", help="weights file")
    export.add_argument(
        "--licence", metavar="TEXT", help="licence that the graphs name (default: that of the package's weights)"
    )
    export.set_defaults(run=run_export)


def run_export(given: argparse.Namespace) -> int:
    """Run `personatalk export`."""
    require("torch", "onnx")
    from ..audio.whisper import WhisperEncoder
    from ..stage1.network import GeometryGenerator
    from ..stage2.renderer import Renderer
    from ..utils.serialization import kind_of

    networks = {network.KIND: network for network in (WhisperEncoder, GeometryGenerator, Renderer)}
    for weights in given.weights:
        kind = kind_of(weights)
        if kind not in networks:
            raise WeightsError(f"{weights}: holds {kind}; only {', '.join(networks)} are run as graphs")
        try:
            for path in networks[kind].export(weights, given.licence):
                print(path)
        except OSError as error:
            raise PersonaTalkError(f"{weights}: its graphs cannot be written ({error.strerror or error})") from error
    return 0
