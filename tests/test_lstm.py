"""The LSTM layer beside four others on the same weights: plain float64, Flax, Keras, and itself step by step."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from musicjax.model import lstm
from musicjax.model.lstm import Params, State

# (batch, steps, inputs, units): one sequence of few inputs, several of many. Few sizes, so that few programs compile.
ONE, MANY = (1, 7, 3, 5), (3, 9, 11, 6)
SIZES = [ONE, MANY]


@pytest.fixture(autouse=True)
def _exact_products():
    """The oracles' products are float32 too, also where the platform's default for it is less."""
    with jax.default_matmul_precision("highest"):
        yield


def example(size, seed=0, scale=0.6):
    """Parameters, inputs and a state without a zero in them, and weights that make outputs and last state one sum."""
    batch, steps, inputs, units = size
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = Params(
        # By the number of inputs, so that z is of order one, as in a network: few stay as they are.
        scale / np.sqrt(max(inputs / 3, 1)).astype(np.float32) * normal(inputs, 4 * units),
        normal(units, 4 * units) / np.sqrt(units).astype(np.float32),
        scale * normal(4 * units),
    )
    x, state = normal(batch, steps, inputs), State(0.5 * normal(batch, units), normal(batch, units))
    cotangents = (normal(batch, steps, units), State(normal(batch, units), normal(batch, units)))
    return params, x, state, cotangents


def plain_unroll(params, x, state):
    """The equations as they stand, in whatever precision the arguments have."""
    units = params.recurrent_kernel.shape[0]

    def body(carry, x_t):
        h, c = carry
        z = x_t @ params.kernel + h @ params.recurrent_kernel + params.bias
        i, f, g, o = (z[:, k * units : (k + 1) * units] for k in range(4))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (h, c), outputs = lax.scan(body, tuple(state), x.swapaxes(0, 1))
    return outputs.swapaxes(0, 1), State(h, c)


@functools.partial(jax.jit, static_argnums=0)
def values_and_gradients(unroll, params, x, state, cotangents):
    """(outputs, last state) and the gradients of parameters, inputs and first state."""
    values, pull = jax.vjp(unroll, params, x, state)
    return values, pull(cotangents)


def rounded_unroll(params, x, state):
    return lstm.unroll(params, x, state, "bfloat16")


def in_float64(unroll, *arguments):
    """values_and_gradients computed in float64, as NumPy arrays."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), arguments)
        result = values_and_gradients(unroll, *wide)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(result))
        return jax.tree.map(np.asarray, result)


def distance(got, expected) -> float:
    """The norm of the difference as a share of the norm."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-30))


def assert_near(got, expected, tolerance):
    named = jax.tree_util.tree_flatten_with_path(got)[0]
    wanted = jax.tree.leaves(expected)
    assert len(named) == len(wanted)
    far = {jax.tree_util.keystr(path): distance(leaf, want) for (path, leaf), want in zip(named, wanted, strict=True)}
    assert max(far.values()) <= tolerance, far


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients_are_those_of_the_equations_in_float64(size):
    arguments = example(size)
    assert_near(values_and_gradients(lstm.unroll, *arguments), in_float64(plain_unroll, *arguments), 1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bfloat16_products_stay_within_a_hundredth_of_float64(size):
    arguments = example(size)
    got, expected = values_and_gradients(rounded_unroll, *arguments), in_float64(plain_unroll, *arguments)
    assert_near(got, expected, 1e-2)
    assert distance(got[0][0], expected[0][0]) > 1e-5, "as near as float32: asking for bfloat16 changed nothing"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(got)} == {"float32"}


@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("size", [(1, 1, 3, 4), MANY], ids=str)
def test_last_output_is_the_last_of_the_equations_from_a_zero_state(size, precision, tolerance):
    params, x, state, (_, d_last) = example(size)

    def ours(params, x, _):
        return lstm.last_output(params, x, precision)

    def plain(params, x, state):
        return plain_unroll(params, x, jax.tree.map(jnp.zeros_like, state))[1].h

    got, (d_params, d_x, _) = values_and_gradients(ours, params, x, state, d_last.h)
    expected, (expected_d_params, expected_d_x, _) = in_float64(plain, params, x, state, d_last.h)
    if x.shape[1] == 1:  # the recurrent kernel meets only zeros: its gradient is zero, not near zero
        assert not d_params.recurrent_kernel.any()
    assert_near((got, d_params, d_x), (expected, expected_d_params, expected_d_x), tolerance)


@pytest.mark.parametrize("remat_rows", [0, 4])
def test_tf32_is_in_every_large_product_on_a_gpu_and_float32_elsewhere(remat_rows):
    params, x, state, _ = example(MANY)

    def loss(params, precision):
        return jnp.sum(lstm.unroll(params, x, state, precision, remat_rows)[0] ** 2)

    gradient = jax.jit(jax.grad(loss), static_argnums=1)

    def products(precision):
        """(those in tf32, all of them) of the program for an NVIDIA GPU."""
        lines = gradient.trace(params, precision).lower(lowering_platforms=("cuda",)).as_text().splitlines()
        found = [line for line in lines if "stablehlo.dot_general" in line]
        return sum("precision_type = tf32" in line for line in found), len(found)

    in_tf32, of_all = products("tf32")
    assert in_tf32 == of_all > 2 and products("float32") == (0, of_all)
    rounds = jax.default_backend() == "gpu"
    for found, expected in zip(*(jax.tree.leaves(gradient(params, one)) for one in ("tf32", "float32")), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2 * np.abs(expected).max() if rounds else 0)


@pytest.mark.parametrize(("rows", "depth", "parts"), [(64, 1024, 1), (64, 1025, 2), (64, 4000, 4), (65, 4000, 1)])
def test_on_a_cpu_long_sums_of_64_rows_are_added_from_parts(rows, depth, parts):
    random = np.random.default_rng(depth)
    a, b = (jnp.asarray(random.standard_normal(shape), jnp.bfloat16) for shape in ((rows, depth), (depth, 8)))
    product = jax.jit(lambda a, b: lstm._product(a, b, "bfloat16"))
    exact = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    np.testing.assert_allclose(product(a, b), exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    for platform, expected in (("cpu", parts), ("cuda", 1)):
        lowered = product.trace(a, b).lower(lowering_platforms=(platform,)).as_text()
        assert lowered.count("stablehlo.dot_general") == expected


@pytest.mark.parametrize(("size", "rows"), [(MANY, 1), (MANY, 2), (MANY, 3), (MANY, 20), (ONE, 3)], ids=str)
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_gates_that_are_computed_again_change_rounding_alone(size, rows, precision):
    """Nine steps in chunks of 1, 2 and 3, of which 2 does not divide them, and in one; seven in chunks of 3."""

    def saving(params, x, state, remat_rows=0):
        last = lstm.last_output(params, x, precision, remat_rows)
        return *lstm.unroll(params, x, state, precision, remat_rows), last

    def again(params, x, state):
        return saving(params, x, state, rows)

    params, x, state, cotangents = example(size, seed=13)
    arguments = (params, x, state, (*cotangents, cotangents[1].h))
    expected, expected_gradients = values_and_gradients(saving, *arguments)
    got, gradients = values_and_gradients(again, *arguments)
    # A compiler may unroll a last chunk of one step and fuse f * c + i * g there, which rounds differently.
    assert_near((got, gradients), (expected, expected_gradients), 1e-6)


def test_gates_that_are_computed_again_take_no_memory_until_then():
    """Four layers of 96 steps: without, the compiler plans memory for the gates of every step of every layer."""

    def loss(layers, x, rows):
        for params in layers:
            x, _ = lstm.unroll(params, x, lstm.zero_state(16, 32), remat_rows=rows)
        return jnp.sum(x)

    def planned(rows):
        layers = [lstm.init(jax.random.key(0), 32, 32)] * 4
        program = jax.jit(jax.grad(loss), static_argnums=2).lower(layers, jnp.zeros((16, 96, 32)), rows)
        return program.compile().memory_analysis().temp_size_in_bytes

    assert planned(8) < 0.4 * planned(0)


@pytest.mark.parametrize("part", ["outputs", "last h", "last c"])
def test_each_result_alone_has_its_gradient(part):
    params, x, state, (d_outputs, d_last) = example(MANY, seed=1)
    cotangents = (
        d_outputs * (part == "outputs"),
        State(d_last.h * (part == "last h"), d_last.c * (part == "last c")),
    )
    expected = in_float64(plain_unroll, params, x, state, cotangents)
    assert min(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[1])) > 0
    assert_near(values_and_gradients(lstm.unroll, params, x, state, cotangents), expected, 1e-5)


def test_gradients_agree_with_finite_differences():
    params, x, state, (d_outputs, d_last) = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), example(ONE, seed=2)
    )

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def total(params, x, state):
        (h, c), value = state, 0.0
        for t in range(x.shape[1]):
            i, f, g, o = np.split(x[:, t] @ params.kernel + h @ params.recurrent_kernel + params.bias, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            value += (h * d_outputs[:, t]).sum()
        return value + (h * d_last.h).sum() + (c * d_last.c).sum()

    arguments = (params, x, state)
    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (*arguments, (d_outputs, d_last)))
    gradients = jax.tree.leaves(values_and_gradients(lstm.unroll, *narrow)[1])
    leaves, structure = jax.tree.flatten(arguments)
    rng = np.random.default_rng(0)
    for place, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        either_side = [
            total(*structure.unflatten([*leaves[:place], leaves[place] + by * direction, *leaves[place + 1 :]]))
            for by in (1e-5, -1e-5)
        ]
        slope = (either_side[0] - either_side[1]) / 2e-5
        assert np.vdot(direction, gradient) == pytest.approx(slope, rel=1e-4), f"argument {place}"


@pytest.mark.parametrize(
    "cell, size",
    [(nn.OptimizedLSTMCell, MANY), (nn.LSTMCell, ONE)],
    ids=str,
)
def test_equals_flax_on_the_same_weights(cell, size):
    def flax_unroll(params, x, state):
        kernels, recurrent_kernels, biases = (jnp.split(part, 4, axis=-1) for part in params)
        weights = {f"i{gate}": {"kernel": kernel} for gate, kernel in zip("ifgo", kernels, strict=True)}
        for gate, kernel, bias in zip("ifgo", recurrent_kernels, biases, strict=True):
            weights[f"h{gate}"] = {"kernel": kernel, "bias": bias}
        layer = nn.RNN(cell(size[-1]), return_carry=True)
        (c, h), outputs = layer.apply({"params": {"cell": weights}}, x, initial_carry=(state.c, state.h))
        return outputs, State(h, c)

    arguments = example(size, seed=3)
    assert_near(values_and_gradients(lstm.unroll, *arguments), values_and_gradients(flax_unroll, *arguments), 1e-5)


@pytest.mark.parametrize("size", [(1, 1, 1, 1), MANY], ids=str)
def test_equals_keras_on_the_same_weights(keras, size):
    layer = keras.layers.LSTM(size[-1], return_sequences=True, return_state=True)
    layer.build((None, None, size[2]))
    assert [tuple(weight.shape) for weight in layer.trainable_variables] == [part.shape for part in example(size)[0]]
    rest = [variable.value for variable in layer.non_trainable_variables]

    def keras_unroll(params, x, state):
        (outputs, h, c), _ = layer.stateless_call(list(params), rest, x, initial_state=list(state))
        return outputs, State(h, c)

    arguments = example(size, seed=4)
    assert_near(values_and_gradients(lstm.unroll, *arguments), values_and_gradients(keras_unroll, *arguments), 1e-5)


@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-6), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_unroll_equals_stepping(size, precision, tolerance):
    params, x, state, _ = example(size, seed=5)
    outputs, last = jax.jit(lstm.unroll, static_argnums=3)(params, x, state, precision)
    now, stepped = state, []
    for t in range(x.shape[1]):
        now = lstm.step(params, x[:, t], now, precision)
        stepped.append(now.h)
    assert_near((outputs, last), (jnp.stack(stepped, axis=1), now), tolerance)


def test_unroll_goes_on_from_the_state_where_it_stopped():
    params, x, state, _ = example(MANY, seed=6)
    outputs, last = lstm.unroll(params, x, state)
    first, between = lstm.unroll(params, x[:, :4], state)
    second, end = lstm.unroll(params, x[:, 4:], between)
    assert_near((outputs, last), (jnp.concatenate([first, second], axis=1), end), 1e-6)


def test_an_output_depends_on_no_later_input():
    params, x, state, _ = example(ONE, seed=7)

    @jax.jit
    @jax.vmap
    def gradients(chosen):
        return jax.grad(lambda x: (lstm.unroll(params, x, state)[0] * chosen[:, None]).sum())(x)

    for t, gradient in enumerate(gradients(jnp.eye(x.shape[1]))):
        assert not gradient[:, t + 1 :].any()
        assert gradient[:, : t + 1].any(axis=-1).all()


def test_a_sequence_depends_on_no_other_of_its_batch():
    params, x, state, _ = example(MANY, seed=8)
    gradient = jax.grad(lambda x: lstm.unroll(params, x, state)[0][1].sum())(x)
    assert gradient.any(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize(("unroll", "tolerance"), [(lstm.unroll, 1e-5), (rounded_unroll, 1e-2)])
def test_vmap_over_parameters_equals_a_loop(unroll, tolerance):
    examples = [example(MANY, seed=seed) for seed in (10, 11)]
    _, x, state, cotangents = examples[0]

    def both(params):
        return values_and_gradients(unroll, params, x, state, cotangents)

    several = [params for params, *_ in examples]
    mapped = jax.vmap(both)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *several))
    for place, params in enumerate(several):
        assert_near(jax.tree.map(lambda leaf, place=place: leaf[place], mapped), both(params), tolerance)


@pytest.mark.parametrize(("unroll", "tolerance"), [(lstm.unroll, 1e-5), (rounded_unroll, 1e-2)])
def test_at_the_papers_size_it_stays_near_the_equations_in_float64(unroll, tolerance):
    """512 units and 50 steps: where the CPU's fast products are at work and errors have time to add up."""
    arguments = example((10, 50, 3, 512), seed=12)
    assert_near(values_and_gradients(unroll, *arguments), at_the_papers_size(), tolerance)


@functools.cache
def at_the_papers_size():
    return in_float64(plain_unroll, *example((10, 50, 3, 512), seed=12))


SHARDED = """
import jax, numpy as np
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from musicjax.model import lstm

params = lstm.init(jax.random.key(0), 3, 16)
x = jax.random.normal(jax.random.key(1), (8, 7, 3))

def loss(params, x):
    outputs, last = lstm.unroll(params, x, lstm.zero_state(8, 16))
    return jnp.sum(outputs**2) + jnp.sum(last.c)

both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
alone = both(params, x)
devices = Mesh(np.array(jax.devices()), ("data",))
spread = jax.device_put(x, NamedSharding(devices, PartitionSpec("data")))
assert len(spread.sharding.device_set) == 4
shared = both(jax.device_put(params, NamedSharding(devices, PartitionSpec())), spread)
for got, expected in zip(jax.tree.leaves(shared), jax.tree.leaves(alone), strict=True):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
print("agree")
"""


@pytest.mark.long
def test_a_batch_divided_by_sharding_gives_the_numbers_of_one_device():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run([sys.executable, "-c", SHARDED], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "agree", done.stderr


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_second_derivatives_are_refused(precision):
    params, x, state, _ = example(ONE)

    def loss(x):
        return lstm.unroll(params, x, state, precision)[0].sum()

    with pytest.raises(TypeError, match="first derivatives only"):
        jax.grad(lambda x: jax.grad(loss)(x).sum())(x)


def test_forward_mode_is_refused():
    params, x, state, _ = example(ONE)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: lstm.unroll(params, x, state)[0], (x,), (x,))


@pytest.mark.parametrize("unroll", [lstm.unroll, rounded_unroll])
def test_saturated_gates_give_finite_values_and_gradients(unroll):
    result = values_and_gradients(unroll, *example(MANY, seed=9, scale=300.0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    assert np.abs(result[0][0]).max() <= 1


@pytest.mark.parametrize("unroll", [lstm.unroll, rounded_unroll])
def test_float32_in_gives_float32_out_even_where_float64_is_allowed(unroll):
    arguments = example(MANY)
    with jax.enable_x64(True):
        result = values_and_gradients(unroll, *arguments)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(result)} == {"float32"}


def test_initial_values_are_drawn_as_keras_draws_them(keras):
    inputs, units = 7, 65
    layer = keras.layers.LSTM(units)
    layer.build((None, None, inputs))
    drawn = {"ours": lstm.init(jax.random.key(0), inputs, units)}
    drawn["Keras"] = Params(*(weight.value for weight in layer.trainable_variables))
    bound = np.sqrt(6 / (inputs + 4 * units))
    for whose, params in drawn.items():
        kernel, recurrent_kernel, bias = (np.asarray(part) for part in params)
        assert {part.dtype.name for part in params} == {"float32"}, whose
        assert np.abs(kernel).max() <= bound and np.abs(kernel).max() > 0.95 * bound, whose
        assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.1), whose
        assert abs(kernel.mean()) < 0.1 * bound, whose
        np.testing.assert_allclose(recurrent_kernel @ recurrent_kernel.T, np.eye(units), atol=1e-5, err_msg=whose)
        assert abs(recurrent_kernel.mean()) < 0.1 / np.sqrt(units), whose
        np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], units), err_msg=whose)


def test_initial_values_differ_by_key_and_by_weight():
    first, again, other = (lstm.init(jax.random.key(seed), 5, 5) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first.kernel != other.kernel).all() and (first.recurrent_kernel != other.recurrent_kernel).all()


def test_the_zero_state_is_zero():
    state = lstm.zero_state(3, 5)
    assert state.h.shape == state.c.shape == (3, 5)
    assert not state.h.any() and not state.c.any()
