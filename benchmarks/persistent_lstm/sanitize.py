"""Launches both kernels at small sizes by the driver alone, so that a tool which watches kernels sees no others.

    compute-sanitizer --tool racecheck python -m benchmarks.persistent_lstm.sanitize [--large]

JAX stays on the CPU. Prints the distance of the last h from float64 and whether the gradient of the first h is finite.
--large takes 512 units. racecheck does not see what the tensor cores read.
"""

from __future__ import annotations

import argparse
import ctypes
import os

import numpy as np

CLUSTERS = 2  # this many run together at the small sizes, and 7 at 512 units
SMALL = ((20, 4, 3, 128), (60, 4, 3, 256))
LARGE = ((60, 4, 3, 256), (200, 3, 3, 512))


def last_h(params: tuple[np.ndarray, ...], x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The output after the last step, in float64."""
    kernel, recurrent, bias = (part.astype(np.float64) for part in params)
    h, c = h.astype(np.float64), c.astype(np.float64)
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    return h


def run(batch: int, steps: int, inputs: int, units: int) -> None:
    import jax.numpy as jnp  # after JAX_PLATFORMS is set

    from benchmarks.persistent_lstm import persistent_lstm

    driver = persistent_lstm._Driver.get()
    cuda = driver.cuda
    driver.check(cuda.cuCtxPushCurrent_v2(driver.context))

    def upload(array: np.ndarray) -> int:
        array, pointer = np.ascontiguousarray(array), ctypes.c_void_p()
        size = ctypes.c_size_t(array.nbytes)
        driver.check(cuda.cuMemAlloc_v2(ctypes.byref(pointer), size))
        driver.check(cuda.cuMemcpyHtoD_v2(pointer, array.ctypes.data_as(ctypes.c_void_p), size))
        return pointer.value or 0

    def download(pointer: int, *shape: int) -> np.ndarray:
        array = np.empty(shape, np.float32)
        target = array.ctypes.data_as(ctypes.c_void_p)
        driver.check(cuda.cuMemcpyDtoH_v2(target, ctypes.c_void_p(pointer), ctypes.c_size_t(array.nbytes)))
        return array

    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def empty(*shape: int) -> int:
        return upload(np.full(shape, np.nan, np.float32))

    plan = persistent_lstm.plan_of(batch, steps, inputs, units, 7 if units == 512 else CLUSTERS)
    recurrent = normal(units, 4 * units) / np.sqrt(units).astype(np.float32)
    params, x = (normal(inputs, 4 * units), recurrent, normal(4 * units)), normal(batch, steps, inputs)
    h_first, c_first = normal(batch, units), normal(batch, units)
    forward = np.asarray(persistent_lstm.forward_weights(jnp.asarray(recurrent))).view(np.uint16)
    backward = np.asarray(persistent_lstm.backward_weights(jnp.asarray(recurrent))).view(np.uint16)
    x_there, h_last, c_last, d_h_first = upload(x), empty(batch, units), empty(batch, units), empty(batch, units)
    saved = empty(steps, plan.clusters * plan.size, plan.pieces, 256, 4)
    pointers = {
        "lstm_forward": [
            *(upload(array) for array in (forward, params[0], params[2])),
            *(x_there, upload(h_first), upload(c_first), h_last, c_last),
            *(empty(steps, batch, units), saved, empty(batch, steps, units)),
        ],
        "lstm_backward": [
            *(upload(backward), x_there, saved, c_last),
            *(upload(normal(*shape)) for shape in ((batch, steps, units), (batch, units), (batch, units))),
            *(empty(steps, batch, units, 4), d_h_first, empty(batch, units)),
            empty(plan.clusters, inputs + 1, 4 * units),
        ],
    }
    for name, given in pointers.items():
        kernel = persistent_lstm._kernel(name, plan.units, plan.eights, plan.inputs, True, True)
        shared = persistent_lstm.shared_bytes(name, plan.units, plan.eights)
        config = driver.config(plan.clusters, plan.size, persistent_lstm.threads(name), shared)
        driver.check(driver.launch(kernel, config, given, [batch, steps, plan.rows]))
        driver.check(cuda.cuCtxSynchronize())
    exact = last_h(params, x, h_first, c_first)
    distance = np.linalg.norm(download(h_last, batch, units) - exact) / np.linalg.norm(exact)
    finite = bool(np.isfinite(download(d_h_first, batch, units)).all())
    print(
        f"{(batch, steps, inputs, units)}: h is {distance:.1e} from float64; gradient of the first h finite: {finite}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="up to 512 units")
    asked = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        for size in LARGE if asked.large else SMALL:
            run(*size)
    except OSError as error:
        raise SystemExit(f"needs an NVIDIA GPU with its driver and NVRTC: {error}") from error


if __name__ == "__main__":
    main()
