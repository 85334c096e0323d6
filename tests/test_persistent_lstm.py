"""The persistent kernel of benchmarks/persistent_lstm beside float64 and beside the scan: emulated, and on a GPU.

The emulated tests need g++, the others a GPU of compute capability 9.0, such as an H100 or H200. JAX and the kernel are
imported by the tests that run, so that collecting this file costs nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[1]

# (batch, steps, inputs, units): one row and many waves of clusters, one step and many, inputs added in the kernel
# and beforehand, units of every size of cluster and between them.
SIZES = [
    (1, 1, 3, 512),
    (7, 9, 11, 100),
    (33, 20, 4, 128),
    (70, 13, 6, 256),
    (64, 30, 3, 384),
    (200, 50, 3, 512),
    (225, 6, 3, 512),
    (300, 17, 40, 500),
    (1024, 12, 3, 512),
    (16, 400, 2, 512),
]


@pytest.fixture
def kernel():
    """The kernel's module, with exact products for what it is compared with; skips without a GPU that can run it."""
    import jax

    from benchmarks.persistent_lstm import persistent_lstm, reference

    instead = reference.hopper()
    if instead:
        pytest.skip(f"needs a GPU of compute capability 9.0; JAX found {instead}")
    with jax.default_matmul_precision("highest"):
        yield persistent_lstm


@pytest.fixture
def emulate():
    """The emulator; skips without a C++ compiler."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    from benchmarks.persistent_lstm import emulate

    return emulate


def kernel_unroll(params, x, state):
    from benchmarks.persistent_lstm import persistent_lstm

    assert persistent_lstm.plan_for(params, x, "bfloat16", True), "the scan was taken instead"
    return persistent_lstm.unroll(params, x, state, "bfloat16")


def scan_unroll(params, x, state):
    from musicjax.model import lstm

    return lstm.unroll(params, x, state, "bfloat16")


def kernel_last(params, x):
    from benchmarks.persistent_lstm import persistent_lstm

    assert persistent_lstm.plan_for(params, x, "bfloat16", False), "the scan was taken instead"
    return persistent_lstm.last_output(params, x, "bfloat16")


def scan_last(params, x):
    from musicjax.model import lstm

    return lstm.last_output(params, x, "bfloat16")


def assert_as_near_as_the_scan(ours, scan, plain, arguments, cotangents):
    import jax

    from benchmarks.persistent_lstm import reference

    got = reference.values_and_gradients(ours, arguments, cotangents)
    other = reference.values_and_gradients(scan, arguments, cotangents)
    exact = reference.named(reference.in_float64(plain, arguments, cotangents))
    far = {}
    for (name, want), mine, theirs in zip(exact.items(), jax.tree.leaves(got), jax.tree.leaves(other), strict=True):
        assert mine.dtype == np.float32 and mine.shape == want.shape
        errors = [float(np.linalg.norm(np.asarray(leaf, np.float64) - want)) for leaf in (mine, theirs)]
        # Of a few numbers the error is chance, which no ratio bounds: there, two hundredths.
        bound = max(1.2 * errors[1], (2e-2 if want.size < 1000 else 1e-7) * np.linalg.norm(want))
        if not errors[0] <= bound:
            far[name] = (*errors, bound)
    assert not far, far


def fill_memory_with_nan():
    """The memory in which the next results will lie is full of NaN."""
    import jax
    import jax.numpy as jnp

    full = [jnp.full((1 << 28,), jnp.nan) for _ in range(4)]
    jax.block_until_ready(full)


@pytest.mark.parametrize(
    "size, clusters, every, late",
    [((13, 5, 2, 128), 1, False, 5), ((31, 5, 7, 100), 1, True, 7), ((5, 4, 3, 256), 2, True, 0)],
    ids=str,
)
def test_the_emulated_kernels_are_as_near_to_float64_as_the_scan(size, clusters, every, late, emulate):
    for name, (ours, scan) in emulate.errors(*size, clusters, every, late=late).items():
        assert ours <= 1.2 * scan, name


def test_the_emulator_sees_the_race_of_a_single_buffer_of_dz_and_none_with_two(emulate, tmp_path):
    one_buffer = tmp_path / "one_buffer.cu"
    text = (emulate.HERE / "persistent_lstm.cu").read_text()
    assert text.count("(s & 1) * 4") == 3
    one_buffer.write_text(text.replace("(s & 1) * 4", "0"))
    with_two = emulate.errors(8, 4, 3, 128, 1, slow=20)
    with_one = emulate.errors(8, 4, 3, 128, 1, slow=20, source=one_buffer)
    assert max(ours / scan for ours, scan in with_two.values()) <= 1.2
    assert max(ours / scan for ours, scan in with_one.values()) > 5


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients_are_as_near_to_float64_as_the_scan(size, kernel):
    from benchmarks.persistent_lstm import reference

    *arguments, cotangents = reference.example(*size)
    fill_memory_with_nan()
    assert_as_near_as_the_scan(kernel_unroll, scan_unroll, reference.unroll, tuple(arguments), cotangents)


@pytest.mark.parametrize("size", [(1, 1, 3, 128), (45, 7, 9, 130), (200, 50, 3, 512)], ids=str)
def test_last_output_is_as_near_to_float64_as_the_scan(size, kernel):
    from benchmarks.persistent_lstm import reference

    params, x, _, (_, d_last) = reference.example(*size, seed=1)
    fill_memory_with_nan()
    assert_as_near_as_the_scan(kernel_last, scan_last, reference.last_output, (params, x), d_last.h)


@pytest.mark.parametrize("part", ["outputs", "last h", "last c"])
def test_each_result_alone_has_its_gradient(part, kernel):
    from benchmarks.persistent_lstm import reference

    params, x, state, (d_outputs, d_last) = reference.example(40, 8, 3, 256, seed=2)
    d_last = type(d_last)(d_last.h * (part == "last h"), d_last.c * (part == "last c"))
    cotangents = (d_outputs * (part == "outputs"), d_last)
    assert_as_near_as_the_scan(kernel_unroll, scan_unroll, reference.unroll, (params, x, state), cotangents)


@pytest.mark.parametrize(
    "size, times", [((200, 50, 3, 512), 1000), ((300, 9, 12, 384), 200), ((20, 6, 3, 128), 1000)], ids=str
)
def test_repetitions_are_equal_to_the_bit(size, times, kernel):
    import jax
    import jax.numpy as jnp
    from jax import lax

    from benchmarks.persistent_lstm import reference

    *arguments, cotangents = reference.example(*size, seed=3)

    @jax.jit
    def differing(arguments, cotangents):
        first = reference.values_and_gradients(kernel_unroll, arguments, cotangents)

        def again(count, _):
            arguments_now, _ = lax.optimization_barrier((arguments, count))
            other = reference.values_and_gradients(kernel_unroll, arguments_now, cotangents)
            unequal = [jnp.any(a != b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True)]
            return count + jnp.any(jnp.stack(unequal)), None

        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(first)]))
        return lax.scan(again, jnp.int32(0), None, length=times)[0], finite

    count, finite = differing(tuple(arguments), cotangents)
    assert finite
    assert int(count) == 0


def test_it_trains_inside_a_scan_as_the_scan_does(kernel):
    import jax
    import jax.numpy as jnp
    from jax import lax

    from benchmarks.persistent_lstm import reference

    params, x, _, (_, d_last) = reference.example(50, 12, 3, 128, seed=4, scale=0.3)
    target = jnp.tanh(d_last.h)

    def trained(last):
        def body(params, _):
            loss, gradients = jax.value_and_grad(lambda p: jnp.mean((last(p, x) - target) ** 2))(params)
            return jax.tree.map(lambda p, g: p - 3.0 * g, params, gradients), loss

        return jax.jit(lambda p: lax.scan(body, p, None, length=30)[1])(params)

    got, expected = trained(kernel_last), trained(scan_last)
    np.testing.assert_allclose(got, expected, rtol=2e-3)
    assert got[-1] < 0.97 * got[0]


def test_vmap_over_parameters_equals_a_loop(kernel):
    import jax
    import jax.numpy as jnp

    from benchmarks.persistent_lstm import reference

    several = [reference.example(20, 6, 3, 128, seed=seed)[0] for seed in (5, 6)]
    _, x, state, cotangents = reference.example(20, 6, 3, 128, seed=5)

    def both(params):
        return reference.values_and_gradients(kernel_unroll, (params, x, state), cotangents)

    mapped = jax.jit(jax.vmap(both))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *several))
    for place, params in enumerate(several):
        for got, want in zip(jax.tree.leaves(mapped), jax.tree.leaves(both(params)), strict=True):
            np.testing.assert_allclose(got[place], want, rtol=1e-3, atol=1e-3 * float(jnp.abs(want).max()))


def test_saturated_gates_give_finite_values_and_gradients(kernel):
    import jax

    from benchmarks.persistent_lstm import reference

    *arguments, cotangents = reference.example(20, 9, 3, 128, seed=7, scale=300.0)
    result = reference.values_and_gradients(kernel_unroll, tuple(arguments), cotangents)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    assert np.abs(result[0][0]).max() <= 1


def test_an_output_depends_on_no_later_input_and_on_no_other_sequence(kernel):
    import jax

    from benchmarks.persistent_lstm import reference

    params, x, state, _ = reference.example(30, 6, 3, 128, seed=8)
    gradient = np.asarray(jax.grad(lambda x: kernel_unroll(params, x, state)[0][3, 2].sum())(x))
    touched = (gradient != 0).any(axis=2)
    expected = np.zeros_like(touched)
    expected[3, :3] = True
    np.testing.assert_array_equal(touched, expected)


def test_second_derivatives_are_refused(kernel):
    import jax

    from benchmarks.persistent_lstm import reference

    params, x, state, _ = reference.example(2, 3, 3, 128)

    def loss(x):
        return kernel_unroll(params, x, state)[0].sum()

    with pytest.raises(TypeError, match="first derivatives only"):
        jax.grad(lambda x: jax.grad(loss)(x).sum())(x)


def test_a_kernel_that_does_not_compile_leaves_the_scan(kernel, monkeypatch):
    import jax

    from benchmarks.persistent_lstm import reference

    *arguments, _ = reference.example(5, 4, 3, 128, seed=9)
    for cached in (kernel._plan, kernel._capacity, kernel._kernel):
        cached.cache_clear()
    monkeypatch.setattr(kernel, "source", lambda eights: "this is no CUDA")
    with pytest.warns(UserWarning, match="runs as a scan"):
        got = jax.vjp(lambda *a: kernel.unroll(*a, "bfloat16"), *arguments)[0]
    kernel._plan.cache_clear()
    for mine, want in zip(jax.tree.leaves(got), jax.tree.leaves(scan_unroll(*arguments)), strict=True):
        np.testing.assert_array_equal(mine, want)


@pytest.mark.parametrize(
    "size, precision", [((3, 4, 3, 600), "bfloat16"), ((3, 4, 3, 128), "float32")], ids=["units", "precision"]
)
def test_what_the_kernels_do_not_take_goes_through_the_scan(size, precision):
    import jax

    from benchmarks.persistent_lstm import persistent_lstm, reference
    from musicjax.model import lstm

    params, x, state, _ = reference.example(*size, seed=10)
    assert not persistent_lstm.supports(*size, precision)
    got = persistent_lstm.unroll(params, x, state, precision)
    for mine, want in zip(jax.tree.leaves(got), jax.tree.leaves(lstm.unroll(params, x, state, precision)), strict=True):
        np.testing.assert_array_equal(mine, want)


def test_this_file_is_collected_without_jax():
    code = "import sys, tests.test_persistent_lstm; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_the_benchmark_ends_with_its_json_object():
    small = ["--batch=8", "--steps=5", "--units=16", "--updates=2", "--repeats=1", "--windows=16"]
    command = [sys.executable, "-m", "benchmarks.persistent_lstm.bench", *small]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert {"scan", "scan, unroll=5"} <= set(result["us_an_update"])
    assert "kernel" in result["us_an_update"] or "kernel" in result["absent"]
