"""`musicjax.LSTM` in place of Flax's `nn.RNN`: the same parameters, values, carries, shapes and gradients."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import musicjax

UNITS = 12


def both(cell: Any = None, **fields: Any) -> tuple[nn.RNN, nn.RNN]:
    return tuple(kind(cell or nn.OptimizedLSTMCell(UNITS), **fields) for kind in (nn.RNN, musicjax.LSTM))


def inputs(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(3), shape)


CELLS = (nn.OptimizedLSTMCell(UNITS), nn.LSTMCell(UNITS))
SHAPES = ((4, 7, 3), (7, 20), (2, 3, 5, 20))
FIELDS: tuple[dict[str, bool], ...] = (
    {},
    {"return_carry": True},
    {"time_major": True},
    {"reverse": True},
    {"reverse": True, "keep_order": True, "time_major": True, "return_carry": True},
)
# Numbers of a cell, a shape and fields: all fields with one cell and shape, the last, which combines them, with each
# shape and with the other cell.
DAILY = {*((0, 0, n) for n in range(len(FIELDS))), (0, 1, 4), (0, 2, 4), (1, 0, 4)}


@pytest.mark.parametrize(
    ("cell", "shape", "fields"),
    [
        pytest.param(
            CELLS[c],
            SHAPES[s],
            FIELDS[n],
            marks=() if (c, s, n) in DAILY else pytest.mark.long,
            id=f"cell{c}-shape{s}-fields{n}",
        )
        for c, s, n in itertools.product(range(len(CELLS)), range(len(SHAPES)), range(len(FIELDS)))
    ],
)
def test_parameters_values_carries_and_gradients_are_those_of_flax(cell, shape, fields):
    nets = both(cell, **fields)
    x = inputs(*shape)
    params, own = (jax.jit(net.init)(jax.random.key(1), x) for net in nets)
    jax.tree.map(np.testing.assert_array_equal, params, own)

    def all_of(net: nn.RNN) -> tuple[Any, Any]:
        """What the net returns, and the gradients of a sum over it with respect to parameters and inputs."""

        def loss(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
            found = net.apply(params, x)
            return sum(jnp.sum(jnp.sin(leaf + 1)) for leaf in jax.tree.leaves(found)), found

        slopes, found = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)
        return found, slopes

    (expected, theirs), (found, ours) = map(all_of, nets)
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), expected, found)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), theirs, ours)


def test_the_arguments_of_a_call_come_before_the_fields_and_a_carry_goes_on():
    theirs, ours = both(time_major=True, return_carry=True)
    x = inputs(4, 6, 3)
    params = theirs.init(jax.random.key(1), x)
    more = {"time_major": False, "reverse": True, "keep_order": True}
    for net in (theirs, ours):
        carry, outputs = net.apply(params, x, **more)
        again = net.apply(params, x, initial_carry=carry, return_carry=False, **more)
        assert outputs.shape == again.shape == (4, 6, UNITS)
        np.testing.assert_array_equal(outputs[:, 0], carry[1])
    expected, found = (net.apply(params, x, initial_carry=carry, **more) for net in (theirs, ours))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), expected, found)


def test_in_a_network_it_takes_the_parameters_of_flax_and_their_names():
    class Net(nn.Module):
        layer: Any

        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dense(2)(self.layer(nn.OptimizedLSTMCell(UNITS))(x)[:, -1])

    x = inputs(4, 6, 3)
    params = Net(nn.RNN).init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, params, Net(musicjax.LSTM).init(jax.random.key(1), x))
    expected, found = (jax.jit(Net(layer).apply)(params, x) for layer in (nn.RNN, musicjax.LSTM))
    np.testing.assert_allclose(expected, found, atol=1e-5)


def test_inputs_of_other_shapes_than_the_parameters_are_refused():
    _, ours = both()
    params = ours.init(jax.random.key(1), inputs(4, 6, 3))
    with pytest.raises(flax.errors.ScopeParamShapeError):
        ours.apply(params, inputs(4, 6, 6))
    with pytest.raises(ValueError, match=r"inputs of shape \(3,\): expected \[\*batch, steps, columns\]"):
        ours.apply(params, inputs(3))


def test_parameters_of_other_shapes_or_missing_ones_are_refused_by_flax_itself():
    _, ours = both()
    params = ours.init(jax.random.key(1), inputs(4, 6, 3))
    gate = params["params"]["cell"]["ig"]
    wide = jax.tree.map(lambda leaf: leaf, params)
    wide["params"]["cell"]["ig"] = {"kernel": jnp.zeros((3, UNITS + 1))}
    with pytest.raises(flax.errors.ScopeParamShapeError):
        ours.apply(wide, inputs(4, 6, 3))
    assert gate["kernel"].shape == (3, UNITS)
    del wide["params"]["cell"]["ig"]
    with pytest.raises(flax.errors.FlaxError, match="ig"):
        ours.apply(wide, inputs(4, 6, 3))


def test_gradients_have_the_types_of_the_parameters():
    theirs, ours = both()
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), theirs.init(jax.random.key(1), inputs(4, 6, 3)))
    slopes = jax.grad(lambda params: ours.apply(params, inputs(4, 6, 3)).sum())(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(slopes)} == {jnp.dtype(jnp.bfloat16)}


def test_parameters_are_made_where_there_are_none_and_may_have_names_of_axes():
    theirs, ours = both(nn.LSTMCell(UNITS, kernel_init=nn.with_partitioning(nn.initializers.ones, (None, "model"))))
    x = inputs(4, 6, 3)
    (expected, made), (found, same) = (
        net.apply({}, x, rngs={"params": jax.random.key(2)}, mutable=["params"]) for net in (theirs, ours)
    )
    np.testing.assert_allclose(expected, found, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, made, same)
    with pytest.raises(flax.errors.FlaxError, match="params"):
        ours.apply({}, x)


@pytest.mark.parametrize("shape", [(0, 6, 3), (4, 0, 3)])
def test_an_empty_batch_and_no_steps_give_what_flax_gives(shape):
    theirs, ours = both(return_carry=True)
    params = theirs.init(jax.random.key(1), inputs(4, 6, 3))
    expected, found = (net.apply(params, jnp.zeros(shape)) for net in (theirs, ours))
    jax.tree.map(np.testing.assert_array_equal, expected, found)


@pytest.mark.parametrize("carry_init", [nn.initializers.zeros, nn.initializers.normal(1.0)])
def test_it_works_in_both_directions_under_vmap_and_remat_and_with_integers(carry_init):
    class Net(nn.Module):
        kind: Any

        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            sides = (self.kind(nn.OptimizedLSTMCell(UNITS, carry_init=carry_init)) for _ in range(2))
            return nn.Bidirectional(*sides)(x)

    x = jax.random.randint(jax.random.key(5), (2, 4, 6, 3), -2, 3)
    params = Net(nn.RNN).init(jax.random.key(1), x[0])
    found = [jax.vmap(lambda x, net=net: nn.remat(Net)(net).apply(params, x))(x) for net in (nn.RNN, musicjax.LSTM)]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_the_example_of_its_page_runs(capsys):
    page = Path(__file__).parents[1] / "docs" / "lstm.md"
    (example,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(example.replace("512", "8"), str(page), "exec"), {})
    assert capsys.readouterr().out == "(8, 1)\n"


def test_bfloat16_rounds_and_second_derivatives_are_refused():
    _, ours = both()
    x = inputs(4, 6, 3)
    params = ours.init(jax.random.key(1), x)
    exact, rounded = (
        musicjax.LSTM(nn.OptimizedLSTMCell(UNITS), precision=one).apply(params, x) for one in ("float32", "bfloat16")
    )
    assert rounded.dtype == jnp.float32 and 1e-5 < np.abs(exact - rounded).max() < 0.05
    with pytest.raises(TypeError, match="first derivatives only"):
        jax.jacrev(jax.grad(lambda x: ours.apply(params, x).sum()))(x)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: ours.apply(params, x), (x,), (x,))


@pytest.mark.parametrize(
    ("cell", "fields", "call", "told"),
    [
        (nn.GRUCell(UNITS), {}, {}, "cell GRUCell: expected nn.OptimizedLSTMCell or nn.LSTMCell"),
        (nn.LSTMCell(UNITS, gate_fn=nn.hard_sigmoid), {}, {}, "cell with other gates: expected gate_fn=nn.sigmoid"),
        (nn.LSTMCell(UNITS, dtype=jnp.bfloat16), {}, {}, "cell with dtype=bfloat16: expected float32; see precision"),
        (nn.LSTMCell(UNITS), {"unroll": 2}, {}, "unroll: expected the default of nn.RNN; take nn.RNN itself"),
        (nn.LSTMCell(UNITS), {"split_rngs": {"params": True}}, {}, "split_rngs: expected the default of nn.RNN"),
        (
            nn.LSTMCell(UNITS),
            {},
            {"initial_carry": (jnp.zeros((3, UNITS)),) * 2},
            r"expected \(c, h\), both of shape \(4, 12\)",
        ),
        (nn.LSTMCell(UNITS), {}, {"initial_carry": 3}, r"initial_carry of shapes 3: expected \(c, h\)"),
        (
            nn.LSTMCell(UNITS),
            {"precision": "float16"},
            {},
            "precision='float16': expected one of float32, tf32",
        ),
        (nn.LSTMCell(UNITS), {}, {"seq_lengths": jnp.ones(4, int)}, "seq_lengths: expected none; take nn.RNN"),
    ],
)
def test_what_it_cannot_compute_is_refused_by_name(cell, fields, call, told):
    with pytest.raises(ValueError, match=told):
        musicjax.LSTM(cell, **fields).init(jax.random.key(0), inputs(4, 6, 3), **call)
