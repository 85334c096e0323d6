"""The graph that TensorBoard draws is whole, named by layer, and wired as the network computes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.node_def_pb2 import NodeDef

from musicjax.model import heads, network
from musicjax.model.network import MusicLSTM
from musicjax.store import tensorboard_graph as graph_lib
from musicjax.training import histograms

UNITS, COLUMNS, BATCH, WINDOW = 8, 3, 4, 5
NETS = [
    MusicLSTM(UNITS, COLUMNS),
    MusicLSTM(UNITS, COLUMNS, precision="bfloat16"),
    MusicLSTM(UNITS, COLUMNS, layers=3),
]


def params_of(net: MusicLSTM) -> dict:
    """Shapes, which are all that a graph depends on."""
    return jax.eval_shape(lambda key: network.init(net, key, WINDOW), jax.random.key(0))


def nodes_of(net: MusicLSTM) -> dict[str, NodeDef]:
    return by_name(graph_lib.of_network(net, params_of(net), BATCH, WINDOW))


def by_name(graph: GraphDef) -> dict[str, NodeDef]:
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names), "names are unique"
    return dict(zip(names, graph.node, strict=True))


def shapes(node: NodeDef) -> list[tuple[int, ...]]:
    return [tuple(dim.size for dim in shape.dim) for shape in node.attr["_output_shapes"].list.shape]


def assert_wired(nodes: dict[str, NodeDef]) -> None:
    """Every input is an output, which exists, of a node that comes before."""
    before: set[str] = set()
    for node in nodes.values():
        for source in node.input:
            name, _, output = source.partition(":")
            assert name in before, f"{node.name} takes {source}"
            assert int(output or 0) < len(shapes(nodes[name])), f"{node.name} takes {source}"
        before.add(node.name)


def reached(nodes: dict[str, NodeDef], last: str) -> set[str]:
    """All that a node depends on."""
    found, waiting = set(), [last]
    while waiting:
        name = waiting.pop().partition(":")[0]
        if name not in found:
            found.add(name)
            waiting += nodes[name].input
    return found


@pytest.mark.parametrize("net", NETS)
def test_every_input_exists_and_every_parameter_leads_to_the_outputs(net):
    nodes = nodes_of(net)
    assert_wired(nodes)
    tags = histograms.tags(params_of(net))
    assert [name for name, node in nodes.items() if node.op == "Parameter"] == tags
    assert [name for name, node in nodes.items() if node.op == "Placeholder"] == ["windows", "dropout_key"]
    assert {*tags, "windows", "dropout_key"} <= reached(nodes, "outputs")
    leaves = jax.tree.leaves(params_of(net))
    assert [shapes(nodes[tag]) for tag in tags] == [[leaf.shape] for leaf in leaves]
    assert shapes(nodes["outputs"]) == [(BATCH, COLUMNS)]
    assert nodes["outputs"].attr["dtype"].s == b"float32"


@pytest.mark.parametrize("net", NETS)
def test_a_layer_is_a_scope_with_its_scan_and_the_product_in_it(net):
    nodes = nodes_of(net)
    for layer in ["lstm", "lstm_1", "lstm_2"][: net.layers]:
        scans = [name for name, node in nodes.items() if node.op == "scan" and name.startswith(f"{layer}/")]
        assert len(scans) == 1
        assert nodes[scans[0]].attr["length"].i == WINDOW
        products = [
            name for name, node in nodes.items() if node.op == "dot_general" and name.startswith(f"{scans[0]}/")
        ]
        assert [shapes(nodes[name]) for name in products] == [[(BATCH, 4 * UNITS)]]
        assert f"{layer}/recurrent_kernel" in reached(nodes, products[0])
    (product,) = (node for name, node in nodes.items() if node.op == "dot_general" and name.startswith("dense/"))
    assert "dense/kernel" in product.input
    assert shapes(product) == [(BATCH, COLUMNS)]
    assert sum(node.op == "scan" for node in nodes.values()) == net.layers
    assert any(name.startswith("Dropout_0/") for name in nodes)
    assert not any(name.startswith(("MusicLSTM", "/")) or "//" in name for name in nodes)


@pytest.mark.parametrize(
    ("head", "outputs", "alone"),
    [(heads.FrameRegression(), COLUMNS, []), (heads.Nade(6), COLUMNS + 6, ["head/in", "head/out"])],
)
def test_outputs_of_every_position_are_drawn_and_the_parameters_of_a_head_stand_alone(head, outputs, alone):
    net = MusicLSTM(UNITS, COLUMNS, head=head, every_position=True)
    nodes = nodes_of(net)
    assert_wired(nodes)
    assert shapes(nodes["outputs"]) == [(BATCH, WINDOW, outputs)]
    tags = histograms.tags(params_of(net))
    assert sorted(set(tags) - reached(nodes, "outputs")) == alone
    assert [name for name, node in nodes.items() if node.op == "Parameter"] == tags


def test_loops_calls_and_choices_are_scopes_of_their_own():
    """Bodies of several kinds, twice each: their names differ and what they take and give is wired through."""

    def round_of(x, n):
        x, seen = lax.scan(lambda carry, now: (carry * now + x[0], carry), x[1], x)
        x = x + lax.cond(n > 0, lambda y: y + jnp.array([1.0, 2.0, 3.0]), lambda y: y * 2, seen)
        return lax.while_loop(lambda now: now[0] < n, lambda now: (now[0] + 1, jax.nn.relu(now[1]) * seen), (0, x))[1]

    def function(x, n):
        return round_of(round_of(x, n), n)

    closed = jax.make_jaxpr(function)(jnp.ones(3), 2)
    nodes: dict[str, NodeDef] = {}
    inputs = [*graph_lib._add(nodes, "x", "Placeholder", [], closed.in_avals[:1])]
    inputs += graph_lib._add(nodes, "n", "Placeholder", [], closed.in_avals[1:])
    (output,) = graph_lib._draw(nodes, closed, inputs, "", "")
    assert_wired(nodes)
    ops = {name: node.op for name, node in nodes.items()}
    for op in ("scan", "cond", "while"):
        assert [name for name in ops if ops[name] == op] == [op, f"{op}_1"]
        for name in (op, f"{op}_1"):
            inner = [other.removeprefix(f"{name}/") for other in ops if other.startswith(f"{name}/")]
            assert inner and inner == [other.removeprefix(f"{op}/") for other in ops if other.startswith(f"{op}/")]
    assert [name for name in ops if name.startswith("while/") and name.endswith("relu/max")]
    assert {"x", "n", "scan", "cond_1"} <= reached(nodes, output)
