"""Makes the networks of faces in personatalk/weights from those in the wheel of mediapipe 0.10.21.

Run it as `python scripts/make_faces.py mediapipe-0.10.21-*.whl`; the extra `convert` brings what it needs. The
detectors are held against the originals by LiteRT before they are written. The landmark network takes operators of
MediaPipe's own, which LiteRT lacks: benchmarks/landmarks.py holds it against MediaPipe itself.
"""

from __future__ import annotations

import argparse
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from tflite_to_onnx import Graph, Network

WEIGHTS = Path(__file__).parents[1] / "personatalk" / "weights"
# Largest difference of a network's output, in shares of the output's largest number.
TOLERANCE = 1e-5
# Landmarks of the mesh, of each eye's ring in its refinement, and of each iris.
MESH, EYE_RING, IRIS = 468, 16, 5


@dataclass(frozen=True)
class Source:
    """A network of the wheel.

    Attributes:
        path: File in the wheel.
        side: Height and width of its image.
        low: What a black pixel is to it; a white one is 1.
        outputs: Names of its outputs here, by those there.
    """

    path: str
    side: int
    low: float
    outputs: dict[str, str]


DETECTORS = {
    "face_detector_short": Source(
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        128,
        -1.0,
        {"regressors": "boxes", "classificators": "scores"},
    ),
    "face_detector_full": Source(
        "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
        192,
        -1.0,
        {"Identity": "boxes", "Identity_1": "scores"},
    ),
}
LANDMARKS = Source("mediapipe/modules/face_landmark/face_landmark_with_attention.tflite", 192, 0.0, {})


def detector(content: bytes, source: Source) -> onnx.ModelProto:
    """Write a detector: boxes and points, (N, 16), and scores before the sigmoid, (N, 1), of each anchor."""
    graph = Graph()
    network = Network(content, graph)
    found = network.write("image", (1 - source.low) / 255, source.low)
    counts = [network.shape(i)[1:] for i in network.sub.outputs]
    shapes = {network.sub.tensors[i].name.decode(): n for i, n in zip(network.sub.outputs, counts, strict=True)}
    flat = {
        ours: (graph.add("Reshape", found[name], graph.constant(shapes[name], np.int64)), shapes[name])
        for name, ours in source.outputs.items()
    }
    return graph.model([1, source.side, source.side, 3], flat, source=source.path)


def landmarks(content: bytes, source: Source) -> onnx.ModelProto:
    """Write the network of the landmarks: (478, 3) in pixels of the crop, and the presence before the sigmoid, (1,).

    As MediaPipe does, the lips and the eyes of the mesh take x and y of their own refinements, and the irises the mean
    depth of the ring around the eye.
    """
    graph, number = Graph(), Graph.constant
    network = Network(content, graph)
    found = network.write("image", (1 - source.low) / 255, source.low)

    def rows(name: str, width: int) -> str:
        return graph.add("Reshape", found[name], number(graph, [-1, width], np.int64))

    mesh = rows("output_mesh_identity", 3)
    parts = ("lips", "left_eye", "right_eye", "left_iris", "right_iris")
    plane = graph.add("Gather", mesh, number(graph, [0, 1], np.int64), axis=1)
    points = graph.add("Concat", plane, *(rows(f"output_{part}", 2) for part in parts), axis=0)
    # Row of those points that each landmark takes.
    taken = np.arange(MESH + 2 * IRIS)
    first = MESH
    for subset in network.subsets:
        taken[subset] = first + np.arange(len(subset))
        first += len(subset)
    taken[MESH:] = first + np.arange(2 * IRIS)
    depth = graph.add("Gather", mesh, number(graph, [2], np.int64), axis=1)
    depths = [depth]
    for eye in network.subsets[1:]:
        ring = graph.add("Gather", depth, number(graph, eye[:EYE_RING], np.int64), axis=0)
        mean = graph.add("ReduceMean", ring, axes=[0], keepdims=1)
        depths.append(graph.add("Expand", mean, number(graph, [IRIS, 1], np.int64)))
    refined = graph.add("Gather", points, number(graph, taken, np.int64), axis=0)
    all_landmarks = graph.add("Concat", refined, graph.add("Concat", *depths, axis=0), axis=1)
    presence = graph.add("Reshape", found["conv_faceflag"], number(graph, [1], np.int64))
    outputs = {"landmarks": (all_landmarks, [len(taken), 3]), "presence": (presence, [1])}
    return graph.model([1, source.side, source.side, 3], outputs, source=source.path)


def check(content: bytes, source: Source, model: onnx.ModelProto) -> float:
    """Return the largest difference from LiteRT on noise, relative to each output's largest number."""
    image = np.random.default_rng(0).integers(0, 256, (1, source.side, source.side, 3), np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ours = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"image": image}), strict=True))
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    pixels = image.astype(np.float32) * np.float32((1 - source.low) / 255) + np.float32(source.low)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    theirs = {d["name"]: interpreter.get_tensor(d["index"])[0] for d in interpreter.get_output_details()}
    return max(
        float(np.abs(theirs[name] - ours[mine]).max() / np.abs(theirs[name]).max())
        for name, mine in source.outputs.items()
    )


def main() -> None:
    """Read the wheel and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=zipfile.ZipFile, help="mediapipe-0.10.21-*.whl")
    wheel = parser.parse_args().wheel
    for name, source in DETECTORS.items():
        content = wheel.read(source.path)
        model = detector(content, source)
        difference = check(content, source, model)
        if difference > TOLERANCE:
            raise SystemExit(f"{name}: differs from the original by {difference:.1e}")
        (WEIGHTS / f"{name}.onnx").write_bytes(model.SerializeToString())
        print(f"{name}.onnx: differs from the original by {difference:.1e}")
    model = landmarks(wheel.read(LANDMARKS.path), LANDMARKS)
    (WEIGHTS / "face_landmarks.onnx").write_bytes(model.SerializeToString())
    print("face_landmarks.onnx")


if __name__ == "__main__":
    main()
