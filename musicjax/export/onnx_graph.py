"""A model as an ONNX graph in float32, which other programs run without JAX.

Rows of numbers: windows float32 [B, T, C] -> prediction, or logits, float32 [B, O], for the row after each window.

Rows of bins: rows and next_rows int64 [T, B, C], h and c float32 [L, B, H] -> the logits of each predicted column,
float32 [T, B, bins], and h_out and c_out, the state after the last row. With one row it draws, with many it scores.

Shape legend: B windows or pieces, T rows, C columns, O outputs of the dense layer, I inputs of a layer, L layers,
H LSTM units, E numbers in a vector.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from musicjax.errors import RunError, UsageError
from musicjax.export import weights
from musicjax.model import lstm
from musicjax.model.categorical import Categorical
from musicjax.model.network import Network
from musicjax.store.model import Model
from musicjax.version import __version__

# Programs refuse files of later versions than their own. These date from 2022; LSTM has not changed since.
OPSET, IR_VERSION = 17, 8
# ONNX's gates, input, output, forget and candidate, as indices into ours.
GATES = (0, 3, 1, 2)
# What the dense layer gives, by the name of the head, where the graph ends with it.
DENSE = {
    "": ("prediction", "the row after each window"),
    "bernoulli": ("logits", "of the keys of the row after each window; sigmoid(logit) is the probability of a key"),
}


class _Port(NamedTuple):
    """An input or output of the graph. A dimension with a name may have any size."""

    name: str
    dtype: type
    shape: tuple[int | str, ...]
    meaning: str


class _Node(NamedTuple):
    """An operator, the names of what it reads and of what it gives, and its attributes."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Graph:
    """inputs, outputs: what other programs see; constants: arrays by name; nodes: in the order in which they run."""

    inputs: list[_Port]
    outputs: list[_Port]
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    nodes: list[_Node] = dataclasses.field(default_factory=list)

    def constant(self, name: str, value: Any) -> str:
        """Adds an array, and returns its name."""
        self.constants[name] = np.asarray(value)
        return name

    def add(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        """Adds a node, and returns the name of its first output."""
        self.nodes.append(_Node(operator, inputs, outputs, attributes))
        return outputs[0]


def content(model: Model) -> bytes:
    """The file. Inputs and outputs have docstrings; its metadata name the program and the columns of a row.

    Raises:
        UsageError: there is no graph of the model's head.
        RunError: the library is not installed.
    """
    graph = _graph(model)
    try:
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise RunError("export needs onnx: pip install onnx") from error

    def info(port: _Port) -> Any:
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
        return helper.make_tensor_value_info(port.name, dtype, port.shape, port.meaning)

    made = helper.make_graph(
        [helper.make_node(node.operator, node.inputs, node.outputs, **node.attributes) for node in graph.nodes],
        "musicjax",
        [info(port) for port in graph.inputs],
        [info(port) for port in graph.outputs],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    producer = {"producer_name": "musicjax", "producer_version": __version__}
    file = helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION, **producer)
    # The producer again, because onnxruntime shows these and no producer_version.
    about = {"producer": f"musicjax {__version__}", "columns": " ".join(model.encoding.columns)}
    helper.set_model_props(file, about)
    return file.SerializeToString()


def _graph(model: Model) -> _Graph:
    """The graph for the model's head; raises UsageError if there is none."""
    head = model.network.head.name
    if head == "categorical":
        return _of_bins(model)
    if head in DENSE:
        return _of_numbers(model)
    raise UsageError(
        f"export: no ONNX graph for a model with the head {head}; expected a model of notes or note events, or a "
        "frame model with the head regression or bernoulli; write the weights alone with --output=model.safetensors"
    )


def _of_numbers(model: Model) -> _Graph:
    """The state begins at zero with each window, and the dense layer reads the output after its last row."""
    net, arrays = model.network, weights.arrays_of(model.params)
    name, meaning = DENSE[net.head.name]
    graph = _Graph(
        [_Port("windows", np.float32, ("batch", "window", net.columns), "consecutive rows, the latest last")],
        [_Port(name, np.float32, ("batch", net.head.outputs(net.predicted)), meaning)],
    )
    rows = graph.add("Transpose", ["windows"], "rows", perm=[1, 0, 2])
    outputs = _add_layers(graph, net, arrays, rows)
    last = graph.add("Gather", [outputs, graph.constant("last.index", -1)], "last")
    dense = [graph.constant(name, arrays[name]) for name in ("dense.kernel", "dense.bias")]
    graph.add("Gemm", [last, *dense], name)
    return graph


def _of_bins(model: Model) -> _Graph:
    """The state comes in and goes out; each predicted column has the logits that `Categorical.logits` gives."""
    net, arrays, columns = model.network, weights.arrays_of(model.params), model.encoding.columns
    head = cast(Categorical, net.head)
    rows, state = ("rows", "batch", net.columns), (net.layers, "batch", net.units)
    graph = _Graph(
        [
            _Port("rows", np.int64, rows, "the bin of each column of each row"),
            _Port("next_rows", np.int64, rows, "the same of the row that follows each; 0 where it is not known yet"),
            _Port("h", np.float32, state, "outputs of the LSTM layers before the first row; 0 where a piece begins"),
            _Port("c", np.float32, state, "their cells, likewise"),
        ],
        [
            *(_logits_port(head, column, columns) for column in head.predicted),
            _Port("h_out", np.float32, state, "outputs of the LSTM layers after the last row"),
            _Port("c_out", np.float32, state, "their cells"),
        ],
    )
    embedded = _add_vectors(graph, "embedded", "rows", net.sizes, arrays["embedding"])
    outputs = _add_layers(graph, net, arrays, embedded, is_carried=True)
    dense = _add_dense(graph, "dense", outputs, arrays["dense.kernel"], arrays["dense.bias"])
    names = [f"{columns[column]}.dense" for column in head.predicted]
    graph.add("Split", [dense, graph.constant("dense.sizes", [head.units] * len(names))], *names, axis=-1)
    for column in head.predicted:
        _add_logits(graph, head, arrays, column, columns[column])
    return graph


def _logits_port(head: Categorical, column: int, columns: Sequence[str]) -> _Port:
    """The output of a predicted column; columns: their names."""
    given = " ".join(columns[one] for one in head.before(column)) or "none of it"
    meaning = f"of the row that follows each, given {given}"
    return _Port(f"logits_{columns[column]}", np.float32, ("rows", "batch", head.sizes[column]), meaning)


def _add_layers(
    graph: _Graph, net: Network, arrays: dict[str, np.ndarray], below: str, is_carried: bool = False
) -> str:
    """Adds the LSTM layers on top of `below` [T, B, I]: the outputs of the last one, [T, B, H].

    Args:
        is_carried: whether the state comes from h and c and goes to h_out and c_out, or begins at zero.
    """
    names = net.layer_names
    if is_carried:
        each = graph.constant("layer.sizes", [1] * len(names))
        for state in ("h", "c"):
            graph.add("Split", [state, each], *(f"{name}.{state}" for name in names), axis=0)
    direction = graph.constant("direction.axis", [1])
    for name in names:
        kernel, recurrent_kernel, bias = (_in_gates_of_onnx(arrays[f"{name}.{part}"]) for part in lstm.Params._fields)
        inputs = [
            below,
            graph.constant(f"{name}.W", kernel.T[None]),
            graph.constant(f"{name}.R", recurrent_kernel.T[None]),
            graph.constant(f"{name}.B", np.concatenate([bias, np.zeros_like(bias)])[None]),
        ]
        before, after = ([f"{name}.h", f"{name}.c"], [f"{name}.h_out", f"{name}.c_out"]) if is_carried else ([], [])
        no_lengths = ""
        by_direction = graph.add("LSTM", [*inputs, no_lengths, *before], f"{name}.Y", *after, hidden_size=net.units)
        below = graph.add("Squeeze", [by_direction, direction], f"{name}.outputs")
    if is_carried:
        for state in ("h", "c"):
            graph.add("Concat", [f"{name}.{state}_out" for name in names], f"{state}_out", axis=0)
    return below


def _in_gates_of_onnx(array: np.ndarray) -> np.ndarray:
    """A parameter of a layer, [..., 4H], with its gates in ONNX's order."""
    gates = np.split(array, len(GATES), axis=-1)
    return np.concatenate([gates[gate] for gate in GATES], axis=-1)


def _add_vectors(graph: _Graph, name: str, rows: str, sizes: Sequence[int], table: np.ndarray) -> str:
    """Adds the sum of the vectors of the bins of int64 [T, B, columns of these sizes]: float32 [T, B, E].

    Args:
        table: float32 [all bins, E], the columns end to end.
    """
    begins = graph.constant(f"{name}.begins", np.cumsum([0, *sizes[:-1]]))
    places = graph.add("Add", [rows, begins], f"{name}.places")
    vectors = graph.add("Gather", [graph.constant(f"{name}.table", table), places], f"{name}.vectors")
    column = graph.constant(f"{name}.axis", [-2])
    return graph.add("ReduceSum", [vectors, column], name, keepdims=0)


def _add_dense(graph: _Graph, name: str, below: str, kernel: np.ndarray, bias: np.ndarray) -> str:
    """Adds below [T, B, I] times the kernel, plus the bias; Gemm takes no more than two dimensions."""
    product = graph.add("MatMul", [below, graph.constant(f"{name}.kernel", kernel)], f"{name}.product")
    return graph.add("Add", [product, graph.constant(f"{name}.bias", bias)], name)


def _add_logits(graph: _Graph, head: Categorical, arrays: dict[str, np.ndarray], column: int, name: str) -> None:
    """Adds the logits of one column, given those before it in next_rows."""
    hidden, before = f"{name}.dense", head.before(column)
    if before:
        known = graph.add("Gather", ["next_rows", graph.constant(f"{name}.before", before)], f"{name}.known", axis=-1)
        sizes = [head.sizes[one] for one in before]
        said = _add_vectors(graph, f"{name}.into", known, sizes, arrays[f"head.into_{column}"])
        hidden = graph.add("Add", [hidden, said], f"{name}.sum")
    active = graph.add("Relu", [hidden], f"{name}.hidden")
    _add_dense(graph, f"logits_{name}", active, arrays[f"head.out_{column}"], arrays[f"head.bias_{column}"])
