"""The network as TensorBoard draws it: a jaxpr -> a GraphDef, one node for each equation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal
from tensorboardX.proto.attr_value_pb2 import AttrValue
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.node_def_pb2 import NodeDef
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

from musicjax.model import network
from musicjax.model.network import Network
from musicjax.training import histograms

# The parameters of an equation that hold the programs it calls, repeats or chooses from.
BODIES = ("jaxpr", "call_jaxpr", "body_jaxpr", "branches")

# Name -> node, in the order of computation. A reference is the name of a node, or NAME:k for its k-th output; None
# stands for a literal of the equation.
Nodes = dict[str, NodeDef]
Reference = str | None


def of_network(net: Network, params: dict, batch_size: int, window: int) -> GraphDef:
    """The path of one training batch through the network, dropout included.

    A layer is a scope: its parameters, by their paths, and what is computed with them. What a head makes of the
    outputs is not drawn, so its own parameters stand alone.
    """
    windows = jax.ShapeDtypeStruct((batch_size, window, net.columns), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    closed = jax.make_jaxpr(lambda *inputs: network.apply(net, *inputs))(params, windows, key)
    named = [(tag, "Parameter") for tag in histograms.tags(params)]
    named += [("windows", "Placeholder"), ("dropout_key", "Placeholder")]
    nodes: Nodes = {}
    inputs: list[Reference] = []
    for (name, op), aval in zip(named, closed.in_avals, strict=True):
        inputs += _add(nodes, name, op, [], [aval])
    outputs = _draw(nodes, closed, inputs, "", f"{type(net).__name__}/")
    _add(nodes, "outputs", "Identity", outputs, closed.out_avals)
    return GraphDef(node=nodes.values())


def _draw(nodes: Nodes, body: ClosedJaxpr, inputs: list[Reference], scope: str, module: str) -> list[Reference]:
    """Adds the equations of a program below a scope; returns references to its outputs.

    Args:
        module: the name that Flax puts before all others; it says nothing and is dropped.
    """
    known: dict[Any, Reference] = dict(zip(body.jaxpr.invars, inputs, strict=True))
    for var, const in zip(body.jaxpr.constvars, body.consts, strict=True):
        (known[var],) = _add(nodes, f"{scope}const", "Const", [], [jax.typeof(const)])
    for equation in body.jaxpr.eqns:
        operands = [None if isinstance(atom, Literal) else known[atom] for atom in equation.invars]
        bodies = list(_bodies(equation))
        stack = f"{equation.source_info.name_stack}/".removeprefix(module).lstrip("/")
        layer = _layer(nodes, operands) if bodies and not scope + stack else ""
        called = equation.params.get("name", equation.primitive.name).strip("_")
        name = _free(nodes, f"{scope}{stack}{layer}{called}")
        # Operands before those of a body are not for it: the index of a choice, constants of a loop's condition.
        first = len(operands) - len(bodies[0].in_avals) if bodies else len(operands)
        taken = operands[:first]
        for inner in bodies:
            taken += _draw(nodes, inner, operands[first:], f"{name}/", module)
        numbers = {key: value for key, value in equation.params.items() if type(value) is int}
        avals = [var.aval for var in equation.outvars]
        added = _add(nodes, name, equation.primitive.name, taken, avals, numbers)
        known |= zip(equation.outvars, added, strict=True)
    return [None if isinstance(atom, Literal) else known[atom] for atom in body.jaxpr.outvars]


def _bodies(equation: JaxprEqn) -> Iterator[ClosedJaxpr]:
    for name in BODIES:
        value = equation.params.get(name)
        for body in value if isinstance(value, tuple) else (value,):
            if isinstance(body, ClosedJaxpr):
                yield body


def _layer(nodes: Nodes, operands: list[Reference]) -> str:
    """The scope of the one layer whose parameters are among the operands; empty if there are none or several."""
    parameters = [name for name in operands if name and name in nodes and nodes[name].op == "Parameter"]
    layers = {name.rpartition("/")[0] for name in parameters}
    return f"{layers.pop()}/" if len(layers) == 1 else ""


def _free(nodes: Nodes, path: str) -> str:
    """The path, numbered if a node already has it."""
    return next(name for k in itertools.count() if (name := f"{path}_{k}" if k else path) not in nodes)


def _add(
    nodes: Nodes, path: str, op: str, inputs: list[Reference], avals: list[Any], numbers: dict[str, int] | None = None
) -> list[Reference]:
    """Adds a node and returns its outputs. Shapes, types and `numbers` are its attributes."""
    shapes = [TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in aval.shape]) for aval in avals]
    attributes = {
        "_output_shapes": AttrValue(list=AttrValue.ListValue(shape=shapes)),
        "dtype": AttrValue(s=", ".join(str(aval.dtype) for aval in avals).encode()),
        **{key: AttrValue(i=number) for key, number in (numbers or {}).items()},
    }
    name = _free(nodes, path)
    nodes[name] = NodeDef(name=name, op=op, input=[source for source in inputs if source is not None], attr=attributes)
    return [name, *(f"{name}:{k}" for k in range(1, len(avals)))]
