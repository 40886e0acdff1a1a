"""Rewrites MediaPipe's TFLite networks of faces as ONNX, operator by operator.

It knows the operators of those networks alone, three of MediaPipe's own among them. Weights keep the float16 numbers of
the source; ONNX Runtime widens them to float32 once, when it opens the file, as LiteRT does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from onnx import TensorProto, helper, numpy_helper

# The first one with GridSample.
OPSET = 16
# Channels of a block in which ONNX Runtime's fast layout keeps images.
BLOCK = 16
# Format of the file that goes with it, which the oldest ONNX Runtime that we allow can read.
IR_VERSION = 8
OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
}
# Operators that take an image apart.
EXACT = {"RESHAPE", "DEPTH_TO_SPACE"}
NO_ACTIVATION, RELU = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU


@dataclass
class Graph:
    """An ONNX graph in the making; tensors are called by their names."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output and return the output's name."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, kind: type = np.float32) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def weights(self, values: np.ndarray) -> str:
        """Add weights in the precision that they came in, to be read as float32."""
        if values.dtype == np.float16:
            return self.add("Cast", self.constant(values, np.float16), to=TensorProto.FLOAT)
        return self.constant(values)

    def model(
        self, image: Sequence[int], outputs: dict[str, tuple[str, Sequence[int]]], **about: str
    ) -> onnx.ModelProto:
        """Finish the graph.

        Args:
            image: Shape of the input `image`, uint8.
            outputs: Tensor and shape of each named output.
            **about: Metadata.
        """
        for name, (tensor, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        graph = helper.make_graph(
            self.nodes,
            "faces",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, image)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="personatalk")
        model.ir_version = IR_VERSION
        helper.set_model_props(model, about)
        onnx.checker.check_model(model, full_check=True)
        return model


class Network:
    """A TFLite network that is written into an ONNX graph.

    Images are (1, height, width, channels) there and (1, channels, height, width) here, where channels of zeros fill up
    the last block of ONNX Runtime's fast layout.

    Args:
        content: The TFLite file.
        graph: Gets the nodes.

    Attributes:
        subsets: Landmarks that each transform was made from, in order.
    """

    def __init__(self, content: bytes, graph: Graph) -> None:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        self.model, self.sub, self.graph = model, model.subgraphs[0], graph
        self.names: dict[int, str] = {}
        self.values: dict[int, np.ndarray] = {}
        self.subsets: list[list[int]] = []
        self.exact = {*self.sub.inputs, *self.sub.outputs}
        padded = [operator for operator in self.sub.operators if self._name(operator) == "PAD"]
        self.exact |= {operator.outputs[0] for operator in padded if operator.inputs[0] in self.sub.inputs}
        for operator in reversed(self.sub.operators):
            name = self._name(operator)
            if name in EXACT or (name != "CONV_2D" and self.exact & set(operator.outputs)):
                self.exact |= set(operator.inputs)

    def write(self, image: str, scale: float, offset: float) -> dict[str, str]:
        """Write the network.

        Args:
            image: Tensor of the image, uint8 (1, H, W, 3).
            scale: Factor from 0..255 to the network's range.
            offset: What is added then.

        Returns:
            Tensor of each output, by the name that the output has in the TFLite file.
        """
        graph = self.graph
        pixels = graph.add("Transpose", graph.add("Cast", image, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        scaled = graph.add("Mul", pixels, graph.constant(scale))
        self.names[self.sub.inputs[0]] = graph.add("Add", scaled, graph.constant(offset)) if offset else scaled
        for operator in self.sub.operators:
            options = operator.builtinOptions
            if operator.customOptions is not None:
                options = flexbuffers.Loads(bytes(operator.customOptions))
            getattr(self, f"_{self._name(operator).lower()}")(operator, options)
        return {self.sub.tensors[i].name.decode(): self.names[i] for i in self.sub.outputs}

    def shape(self, index: int) -> list[int]:
        """Return the shape of a tensor as TFLite has it."""
        return [int(n) for n in self.sub.tensors[index].shape]

    def channels(self, index: int) -> int:
        """Return the channels of an image here: whole blocks, but for those that enter or leave the network."""
        channels = self.shape(index)[-1]
        return channels if index in self.exact else -(-channels // BLOCK) * BLOCK

    def value(self, index: int) -> np.ndarray:
        """Return the numbers of a constant tensor."""
        if index not in self.values:
            tensor = self.sub.tensors[index]
            numbers = np.frombuffer(bytes(self.model.buffers[tensor.buffer].data), TYPES[tensor.type])
            self.values[index] = _dense(tensor, numbers) if tensor.sparsity else numbers.reshape(self.shape(index))
        return self.values[index]

    def _name(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        return (
            code.customCode.decode()
            if code.customCode
            else OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        )

    def _dequantize(self, operator: Any, options: Any) -> None:
        self.values[operator.outputs[0]] = self.value(operator.inputs[0])

    _densify = _dequantize

    def _conv_2d(self, operator: Any, options: Any) -> None:
        kernel = self.value(operator.inputs[1]).transpose(0, 3, 1, 2)
        channels = self.channels(operator.inputs[0]) - kernel.shape[1]
        self._convolve(operator, options, np.pad(kernel, ((0, 0), (0, channels), (0, 0), (0, 0))), 1)

    def _depthwise_conv_2d(self, operator: Any, options: Any) -> None:
        kernel = self.value(operator.inputs[1]).transpose(3, 0, 1, 2)
        self._convolve(operator, options, kernel, self.channels(operator.inputs[0]))

    def _convolve(self, operator: Any, options: Any, kernel: np.ndarray, group: int) -> None:
        source, target, strides = operator.inputs[0], operator.outputs[0], [options.strideH, options.strideW]
        more = self.channels(target) - len(kernel)
        weights = self.graph.weights(np.pad(kernel, ((0, more), (0, 0), (0, 0), (0, 0))))
        bias = self.graph.weights(np.pad(self.value(operator.inputs[2]), (0, more)))
        pads = self._pads(source, kernel.shape[2:], strides, options.padding)
        tensor = self.graph.add("Conv", self.names[source], weights, bias, group=group, strides=strides, pads=pads)
        self.names[target] = self._activated(tensor, options)

    def _max_pool_2d(self, operator: Any, options: Any) -> None:
        kernel, strides = [options.filterHeight, options.filterWidth], [options.strideH, options.strideW]
        pads = self._pads(operator.inputs[0], kernel, strides, options.padding)
        source = self.names[operator.inputs[0]]
        tensor = self.graph.add("MaxPool", source, kernel_shape=kernel, strides=strides, pads=pads)
        self.names[operator.outputs[0]] = self._activated(tensor, options)

    def _pads(self, source: int, kernel: Sequence[int], strides: Sequence[int], padding: int) -> list[int]:
        if padding == schema.Padding.VALID:
            return [0, 0, 0, 0]
        sizes = self.shape(source)[1:3]
        pads = [
            max(0, (-(-size // step) - 1) * step + width - size)
            for size, width, step in zip(sizes, kernel, strides, strict=True)
        ]
        return [pad // 2 for pad in pads] + [pad - pad // 2 for pad in pads]

    def _activated(self, tensor: str, options: Any) -> str:
        if options.fusedActivationFunction == RELU:
            return self.graph.add("Relu", tensor)
        assert options.fusedActivationFunction == NO_ACTIVATION
        return tensor

    def _prelu(self, operator: Any, options: Any) -> None:
        """Write `a x + (1 - a) max(x, 0)`: ONNX Runtime is slow at PRelu, and leaves its fast layout for it."""
        slopes = self.value(operator.inputs[1]).astype(np.float32).reshape(-1, 1, 1, 1)
        slopes = np.pad(slopes, ((0, self.channels(operator.inputs[0]) - len(slopes)), (0, 0), (0, 0), (0, 0)))
        source, graph, group = self.names[operator.inputs[0]], self.graph, len(slopes)
        below = graph.add("Conv", source, graph.constant(slopes), group=group)
        above = graph.add("Conv", graph.add("Relu", source), graph.constant(1 - slopes), group=group)
        self.names[operator.outputs[0]] = graph.add("Add", below, above)

    def _relu(self, operator: Any, options: Any) -> None:
        self.names[operator.outputs[0]] = self.graph.add("Relu", self.names[operator.inputs[0]])

    def _add(self, operator: Any, options: Any) -> None:
        tensor = self.graph.add("Add", *(self.names[i] for i in operator.inputs))
        self.names[operator.outputs[0]] = self._activated(tensor, options)

    def _mul(self, operator: Any, options: Any) -> None:
        factor = self.value(operator.inputs[1]).astype(np.float32)
        if factor.shape == (1, 4, 4):  # of a transform, see _landmarks2transformmatrix
            factor = factor[:, :2, [0, 1, 3]]
        self.names[operator.outputs[0]] = self.graph.add(
            "Mul", self.names[operator.inputs[0]], self.graph.constant(factor)
        )

    def _pad(self, operator: Any, options: Any) -> None:
        before, after = self.value(operator.inputs[1])[[0, 3, 1, 2]].T.copy()
        after[1] = self.channels(operator.outputs[0]) - self.channels(operator.inputs[0])
        if not (before.any() or after.any()):
            self.names[operator.outputs[0]] = self.names[operator.inputs[0]]
            return
        pads = self.graph.constant([*before, *after], np.int64)
        self.names[operator.outputs[0]] = self.graph.add("Pad", self.names[operator.inputs[0]], pads)

    def _resize_bilinear(self, operator: Any, options: Any) -> None:
        assert options.halfPixelCenters and not options.alignCorners
        _, height, width, _ = self.shape(operator.outputs[0])
        sizes = self.graph.constant([1, self.channels(operator.inputs[0]), height, width], np.int64)
        self.names[operator.outputs[0]] = self.graph.add(
            "Resize", self.names[operator.inputs[0]], "", "", sizes, mode="linear"
        )

    def _depth_to_space(self, operator: Any, options: Any) -> None:
        source = self.names[operator.inputs[0]]
        self.names[operator.outputs[0]] = self.graph.add("DepthToSpace", source, blocksize=options.blockSize)

    def _concatenation(self, operator: Any, options: Any) -> None:
        tensors = (self.names[i] for i in operator.inputs)
        self.names[operator.outputs[0]] = self.graph.add("Concat", *tensors, axis=options.axis)

    def _reshape(self, operator: Any, options: Any) -> None:
        source = operator.inputs[0]
        tensor = self.names[source]
        if len(self.shape(source)) == 4:
            tensor = self.graph.add("Transpose", tensor, perm=[0, 2, 3, 1])
        shape = self.graph.constant(self.shape(operator.outputs[0]), np.int64)
        self.names[operator.outputs[0]] = self.graph.add("Reshape", tensor, shape)

    def _strided_slice(self, operator: Any, options: Any) -> None:
        """Pass on what is whole: MediaPipe names an output by it."""
        assert self.shape(operator.inputs[0]) == self.shape(operator.outputs[0])
        self.names[operator.outputs[0]] = self.names[operator.inputs[0]]

    def _landmarks2transformmatrix(self, operator: Any, options: Any) -> None:
        """Return the map from a turned crop around some landmarks to the map that the landmarks lie on, (1, 2, 3).

        The crop is upright where the second of two landmarks is right of the first, and larger than the box around the
        landmarks by a factor. MediaPipe's matrix is (1, 4, 4), of which all else is fixed.
        """
        self.subsets.append(options["subset_idxs"])
        graph, number = self.graph, self.graph.constant
        points = self._xy(self.names[operator.inputs[0]])

        def chosen(indices: Sequence[int]) -> str:
            return graph.add("Gather", points, number(indices, np.int64), axis=1)

        across = graph.add("Sub", chosen([options["right_rotation_idx"]]), chosen([options["left_rotation_idx"]]))
        length = graph.add("ReduceL2", across, axes=[2], keepdims=1)
        right = graph.add("Div", across, graph.add("Max", length, number(1e-6)))  # (1, 1, 2): cosine and sine
        down = graph.add("Mul", graph.add("Gather", right, number([1, 0], np.int64), axis=2), number([[[-1.0, 1.0]]]))
        axes = graph.add("Concat", right, down, axis=1)  # rows: the crop's axes
        upright = graph.add("MatMul", chosen(options["subset_idxs"]), graph.add("Transpose", axes, perm=[0, 2, 1]))
        low, high = (graph.add(f"Reduce{side}", upright, axes=[1], keepdims=1) for side in ("Min", "Max"))
        sizes = [options["output_width"], options["output_height"]]
        factors = np.array([[[options["scale_x"], options["scale_y"]]]], np.float32) / sizes
        zoom = graph.add("Mul", graph.add("Sub", high, low), number(factors))
        middle = graph.add("Mul", graph.add("Add", low, high), number(0.5))
        corner = graph.add("Sub", middle, graph.add("Mul", zoom, number([[np.array(sizes) / 2]])))
        linear = graph.add("Mul", graph.add("Transpose", axes, perm=[0, 2, 1]), zoom)
        shift = graph.add("Transpose", graph.add("MatMul", corner, axes), perm=[0, 2, 1])
        self.names[operator.outputs[0]] = graph.add("Concat", linear, shift, axis=2)

    def _transformtensorbilinear(self, operator: Any, options: Any) -> None:
        """Cut a crop from a map of features; what lies beyond the map is 0."""
        graph, number = self.graph, self.graph.constant
        _, height, width, _ = self.shape(operator.inputs[0])
        rows, columns = np.mgrid[: options["output_height"], : options["output_width"]] + 0.5
        grid = np.stack([columns, rows, np.ones_like(rows)]).reshape(1, 3, -1)
        places = graph.add("Sub", graph.add("MatMul", self.names[operator.inputs[1]], number(grid)), number(0.5))
        places = graph.add("Transpose", places, perm=[0, 2, 1])
        shape = number([1, *rows.shape, 2], np.int64)
        last = number([width - 1, height - 1])
        relative = graph.add("Sub", graph.add("Mul", graph.add("Div", places, last), number(2.0)), number(1.0))
        cut = graph.add(
            "GridSample",
            self.names[operator.inputs[0]],
            graph.add("Reshape", relative, shape),
            align_corners=1,
            padding_mode="border",
        )
        beyond = graph.add("Abs", graph.add("Reshape", relative, shape))
        furthest = graph.add("ReduceMax", beyond, axes=[3], keepdims=0)
        inside = graph.add("Cast", graph.add("LessOrEqual", furthest, number(1.0)), to=TensorProto.FLOAT)
        mask = graph.add("Unsqueeze", inside, number([1], np.int64))
        self.names[operator.outputs[0]] = graph.add("Mul", cut, mask)

    def _transformlandmarks(self, operator: Any, options: Any) -> None:
        graph = self.graph
        points, matrix = (self.names[i] for i in operator.inputs)
        ones = graph.constant(np.ones([*self.shape(operator.inputs[0])[:2], 1]))
        transposed = graph.add("Transpose", matrix, perm=[0, 2, 1])
        self.names[operator.outputs[0]] = graph.add("MatMul", graph.add("Concat", points, ones, axis=2), transposed)

    def _xy(self, points: str) -> str:
        return self.graph.add("Gather", points, self.graph.constant([0, 1], np.int64), axis=2)


def _dense(tensor: Any, numbers: np.ndarray) -> np.ndarray:
    """Return a tensor whose last axis alone is sparse."""
    *whole, last = tensor.sparsity.dimMetadata
    assert last.format == schema.DimensionType.SPARSE_CSR
    assert all(axis.format == schema.DimensionType.DENSE for axis in whole)
    starts, places = (np.asarray(part.values, np.int64) for part in (last.arraySegments, last.arrayIndices))
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    shape = [int(n) for n in tensor.shape]
    dense = np.zeros((len(starts) - 1, shape[-1]), numbers.dtype)
    dense[rows, places] = numbers
    return dense.reshape(shape)
