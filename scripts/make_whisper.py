"""Makes the audio encoder's weights, personatalk/weights/whisper-base.safetensors, and its graph, from a checkpoint.

    python scripts/make_whisper.py openai/whisper-base
    python scripts/make_whisper.py model.bin

The checkpoint is a folder or a name on the hub in the format of `transformers`, or a CTranslate2 file (`model.bin`) as
faster-whisper uses it. Only the convolutions and the lowest layers are kept, in float16, as they were published.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from personatalk.audio.encoder import load_backbone
from personatalk.audio.whisper import WhisperEncoder
from personatalk.utils.files import PACKAGED

LAYERS, HEADS = 4, 8
# CTranslate2's number of each type of a tensor.
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
# Names of a layer's parts: ours, and CTranslate2's.
PARTS = {
    "attention_norm": "self_attention/layer_norm",
    "query_key_value": "self_attention/linear_0",
    "out": "self_attention/linear_1",
    "norm": "ffn/layer_norm",
    "up": "ffn/linear_0",
    "down": "ffn/linear_1",
}


def read_ctranslate2(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a CTranslate2 file by name."""
    tensors = {}
    with path.open("rb") as file:
        _unpack(file, "I")
        _text(file)
        _unpack(file, "I")
        for _ in range(_unpack(file, "I")[0]):
            name, (rank,) = _text(file), _unpack(file, "B")
            shape = _unpack(file, f"{rank}I")
            (kind,), (size,) = _unpack(file, "B"), _unpack(file, "I")
            array = np.frombuffer(file.read(size), TYPES[kind]).reshape(shape)
            tensors[name] = torch.from_numpy(array.astype(np.float32))
    return tensors


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(f"<{layout}", file.read(struct.calcsize(f"<{layout}")))


def _text(file: BinaryIO) -> str:
    return file.read(_unpack(file, "H")[0])[:-1].decode()


def from_ctranslate2(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Translate CTranslate2's names to those of `WhisperEncoder`."""
    state = {f"{c}.{kind}": tensors[f"encoder/{c}/{kind}"] for c in ("conv1", "conv2") for kind in ("weight", "bias")}
    for layer in range(LAYERS):
        for ours, theirs in PARTS.items():
            kinds = ("gamma", "beta") if "norm" in ours else ("weight", "bias")
            for kind, name in zip(("weight", "bias"), kinds, strict=True):
                state[f"layers.{layer}.{ours}.{kind}"] = tensors[f"encoder/layer_{layer}/{theirs}/{name}"]
    return state


def main() -> None:
    """Write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder or hub name of transformers, or a CTranslate2 model.bin")
    parser.add_argument("-o", "--output", type=Path, default=PACKAGED / "whisper-base.safetensors")
    given = parser.parse_args()
    if Path(given.checkpoint).is_file():
        state = from_ctranslate2(read_ctranslate2(Path(given.checkpoint)))
    else:
        state = load_backbone(given.checkpoint)[1]
    width = len(state["conv1.bias"])
    network = WhisperEncoder(width, HEADS, LAYERS)
    network.load_state_dict({name: tensor for name, tensor in state.items() if name in network.state_dict()})
    network.save(given.output)
    WhisperEncoder.export(given.output)
    print(f"{given.output}: {given.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
