"""Runs the kernels of persistent_lstm.cu on a CPU and compares them with float64, beside the scan in bfloat16.

    python -m benchmarks.persistent_lstm.emulate [--batch=5 --steps=4 --inputs=3 --units=128 --clusters=2]

Needs g++ and no GPU. --late delivers messages between SMs up to that many ticks late, --slow holds up one warpgroup of
some SMs for that many ticks before each product; emu.h says how. Ends with status 1 if a value or a gradient is more
than 1.2 times as far from float64 as the scan's.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

from benchmarks.persistent_lstm import persistent_lstm, reference
from musicjax.model import lstm

HERE = Path(__file__).parent
# C's side: a kernel with its pointers in their order, as one function.
ENTRY = """
extern "C" int run_{name}(int grid, int cluster, int shared, int late_, int slow_, void** p, int batch, int steps,
                          int rows) {{
  late = late_;
  slow = slow_;
  return run_grid(grid, cluster, shared, {threads}, [=] {{ {name}({pointers}, batch, steps, rows); }});
}}
"""
TYPES = {
    "lstm_forward": ["uint4", *["float"] * 7, "u16", "uint4", "float"],
    "lstm_backward": ["uint2", "float", "uint4", *["float"] * 4, "u16", *["float"] * 3],
}


@functools.cache
def library(units: int, eights: int, inputs: int, save: bool, every: bool, group: int, source: Path) -> ctypes.CDLL:
    """Both kernels for one size, compiled by g++."""
    text = source.read_text().replace(
        "extern __shared__ __align__(1024) char memory[];", "char* memory = emu_memory();"
    )
    for name, types in TYPES.items():
        pointers = ", ".join(f"({kind}*)p[{place}]" for place, kind in enumerate(types))
        text += ENTRY.format(name=name, threads=persistent_lstm.threads(name), pointers=pointers)
    sizes = {"H": units, "NT": eights, "INPUTS": inputs, "SAVE": int(save), "EVERY": int(every), "GROUP": group}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernels.cpp").write_text(f'#include "emu.h"\n{text}')
        options = ["-O1", "-std=c++17", "-w", "-fpermissive", "-shared", "-fPIC", f"-I{HERE}", "-DEMULATE"]
        options += [f"-D{key}={value}" for key, value in sizes.items()]
        subprocess.run(["g++", *options, "-o", "kernels.so", "kernels.cpp"], cwd=folder, check=True)
        return ctypes.CDLL(str(Path(folder) / "kernels.so"))


@contextmanager
def emulated(
    plan: persistent_lstm.Plan, late: int = 0, slow: int = 0, source: Path = HERE / "persistent_lstm.cu"
) -> Iterator[None]:
    """Inside it, `persistent_lstm` takes this plan and its kernels run here."""

    def call(
        name: str, plan: persistent_lstm.Plan, every: bool, save: bool, outputs: list, *arguments: jax.Array
    ) -> Any:
        built = library(plan.units, plan.eights, plan.inputs, save, every, persistent_lstm.GROUP, source)

        def run(*given: jax.Array) -> tuple[np.ndarray, ...]:
            inputs = [np.ascontiguousarray(array) for array in given]
            # Every byte is 0xff, which is NaN in every type, so that an element left out is seen.
            results = [np.full(one.size * one.dtype.itemsize, 0xFF, np.uint8) for one in outputs]
            pointers = (ctypes.c_void_p * 12)(*(array.ctypes.data for array in [*inputs, *results]))
            shared = persistent_lstm.shared_bytes(name, plan.units, plan.eights)
            grid = plan.clusters * plan.size
            sizes = (plan.batch, plan.steps, plan.rows)
            if getattr(built, f"run_{name}")(grid, plan.size, shared, late, slow, pointers, *sizes):
                raise RuntimeError(f"{name} does not come to an end")
            return tuple(
                result.view(one.dtype).reshape(one.shape) for result, one in zip(results, outputs, strict=True)
            )

        return jax.pure_callback(run, tuple(outputs), *arguments)

    with (
        mock.patch.object(persistent_lstm, "_call", call),
        mock.patch.object(persistent_lstm, "plan_for", lambda *_: plan),
    ):
        yield


def errors(
    batch: int,
    steps: int,
    inputs: int,
    units: int,
    clusters: int,
    every: bool = True,
    late: int = 0,
    slow: int = 0,
    source: Path = HERE / "persistent_lstm.cu",
) -> dict[str, tuple[float, float]]:
    """{value or gradient: (the kernels' distance from float64, the scan's)}, relative to its size.

    clusters: how many run together; every: all outputs (`unroll`) or the last one (`last_output`).
    """
    params, x, state, cotangents = reference.example(batch, steps, inputs, units)
    plan = persistent_lstm.plan_of(batch, steps, inputs, units, clusters)
    kernel: Any = persistent_lstm.unroll if every else persistent_lstm.last_output
    scan: Any = lstm.unroll if every else lstm.last_output
    plain: Any = reference.unroll if every else reference.last_output
    arguments = (params, x, state) if every else (params, x)
    wanted = cotangents if every else cotangents[1].h

    def found(function: Any) -> dict[str, np.ndarray]:
        def in_bfloat16(*arguments: Any) -> Any:
            return function(*arguments, "bfloat16")

        return reference.named(reference.values_and_gradients(in_bfloat16, arguments, wanted))

    with emulated(plan, late, slow, source):
        ours = found(kernel)
    theirs = found(scan)
    exact = reference.named(reference.in_float64(plain, arguments, wanted))
    size = {name: float(np.linalg.norm(value)) for name, value in exact.items()}
    return {
        name: (
            float(np.linalg.norm(ours[name] - value)) / size[name],
            float(np.linalg.norm(theirs[name] - value)) / size[name],
        )
        for name, value in exact.items()
        if size[name]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"batch": 5, "steps": 4, "inputs": 3, "units": 128, "clusters": 2, "late": 0, "slow": 0}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--last", action="store_true", help="only the output after the last step, from a zero state")
    parser.add_argument("--source", type=Path, default=HERE / "persistent_lstm.cu", help="the kernels' file")
    asked = vars(parser.parse_args())
    rows = errors(every=not asked.pop("last"), **asked)
    for name, (kernel, scan) in rows.items():
        print(f"{name:28s} kernel {kernel:.2e}  scan {scan:.2e}  ratio {kernel / scan:.2f}")
    sys.exit(not all(kernel <= 1.2 * scan for kernel, scan in rows.values()))


if __name__ == "__main__":
    main()
