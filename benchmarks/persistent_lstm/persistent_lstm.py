"""The LSTM layer as one kernel: weights that never leave the chip, on GPUs of compute capability 9.0.

A scan reads all weights again at every step and starts several kernels for it. Here one kernel runs the whole window.

        one cluster of 16 SMs, for up to 32 rows of the batch           (512 units; 7 clusters share batch 200)

         SM 0              SM 1                      SM 15
       +-----------+     +-----------+             +-----------+
       | units     |     | units     |             | units     |       registers: W of 32 units, 4 gates each,
       |  0..31    |     |  32..63   |     ...     | 480..511  |       as the tensor cores want it: 128 KB
       |  W^T  c   |     |  W^T  c   |             |  W^T  c   |       registers: c of 32 units x rows
       |           |     |           |             |           |
       | h(t-1) of |     | h(t-1) of |             | h(t-1) of |       shared memory: h of all 512 units x rows,
       | all units |     | all units |             | all units |       twice: one to read, one to fill
       +-----------+     +-----------+             +-----------+
             |   ^             |   ^                     |   ^
             v   |             v   |                     v   |
        ===========  h(t) of 32 units to the 15 others  ==========     distributed shared memory: the bottleneck

    forward,  step t:   z^T [128 x rows] = x Wx + b + W^T [128 x 512] h(t-1)^T [512 x rows],  gates,  h(t) to all
    backward, step t:   dz of 32 units from dh and the saved gates;  W [512 x 128] dz^T [128 x rows] is what this SM
                        adds to every unit's dh: 32 units' part to each SM, which sums the 16 parts

There is no barrier over all SMs, nor one over a cluster: what is sent carries its own count, and an SM waits only for
bytes. Two buffers suffice, because whoever has all of h(t) knows that the others have done with h(t-1): they sent h(t)
after it. Clusters know nothing of each other, so a batch of any size is as many clusters as it needs, run as SMs come
free.

Each thread holds the fragments of W that it multiplies with, so a step reads only h (32 KB) from shared memory, and the
rows of a fragment are permuted so that the four gates of a unit meet in two neighbouring threads.

The gradients of the weights are one product after the backward kernel. Gates are kept as float16 (they lie in -1..1,
where it is eight times as fine as bfloat16); h, W, dz and the parts of dh are rounded to bfloat16; c, dc and all sums
are float32.

The kernels are CUDA C++ beside this file, compiled by NVRTC at first use for one size (1-2 s) and called through
XLA's FFI by a handler in Python that says it may be recorded in a command buffer.
"""

from __future__ import annotations

import ctypes
import functools
import glob
import importlib.util
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from musicjax.model import lstm
from musicjax.model.lstm import Params, State

PRODUCT_INPUTS = 5  # from this many inputs on, x Wx is one product beforehand; fewer are added by the kernel
MAX_UNITS = 512  # 16 SMs, the largest cluster, hold the weights of 32 units each
EIGHTS = (1, 2, 4)  # sizes of a cluster's share of the batch, in eights of rows
GROUP = 2  # this many SMs' parts of h share a barrier: measured 1, 2, 3, 4, 5, 8 and all


class Plan(NamedTuple):
    """How a window is laid over the chip. units: padded; inputs: 0 if many; rows: of a cluster, at most 8 * eights."""

    units: int
    batch: int
    steps: int
    inputs: int
    eights: int
    rows: int
    clusters: int

    @property
    def size(self) -> int:
        """SMs of a cluster."""
        return self.units // 32

    @property
    def pieces(self) -> int:
        """16-byte pieces that a thread saves of a step."""
        return (3 * self.eights + 3) // 4


def unroll(params: Params, x: jax.Array, state: State, precision: str = "float32") -> tuple[jax.Array, State]:
    """All steps for x [B, T, I] from `state`: outputs float32 [B, T, H] and the last state, as `lstm.unroll`."""
    plan = plan_for(params, x, precision, True)
    if plan is None:
        return lstm.unroll(params, x, state, precision)
    units = params.recurrent_kernel.shape[0]
    outputs, last = _run(plan, True, _pad(params, plan.units), x, State(*(_pad_last(s, plan.units) for s in state)))
    return outputs[..., :units], State(last.h[:, :units], last.c[:, :units])


def last_output(params: Params, x: jax.Array, precision: str = "float32") -> jax.Array:
    """float32 [B, H]: the output after the last step of x [B, T, I], from a zero state."""
    plan = plan_for(params, x, precision, False)
    if plan is None:
        return lstm.last_output(params, x, precision)
    state = lstm.zero_state(x.shape[0], plan.units)
    return _run(plan, False, _pad(params, plan.units), x, state)[1].h[:, : params.recurrent_kernel.shape[0]]


def supports(batch: int, steps: int, inputs: int, units: int, precision: str = "float32", every: bool = True) -> bool:
    """Whether the kernels take this size here; what they do not take goes through the scan.

    every: outputs at every step, as `unroll`; not as `last_output`.
    """
    return _plan(batch, steps, inputs, units, precision, every) is not None


def plan_for(params: Params, x: jax.Array, precision: str, every: bool) -> Plan | None:
    """How the kernels do it; None: not at all."""
    return _plan(*x.shape, params.recurrent_kernel.shape[0], precision, every)


@functools.cache
def _plan(batch: int, steps: int, inputs: int, units: int, precision: str, every: bool) -> Plan | None:
    if precision != "bfloat16" or units > MAX_UNITS or min(batch, steps, inputs) < 1:
        return None
    if jax.default_backend() != "gpu":
        return None
    try:
        if not _Driver.get().hopper:
            return None
        plan = plan_of(batch, steps, inputs, units, _capacity(-(-units // 128) * 128, _inside(inputs)))
        # All that can be asked for, now, while the scan can still take over.
        wanted = [("lstm_forward", False), ("lstm_forward", True), ("lstm_backward", True)]
        _build([(name, plan.units, plan.eights, plan.inputs, save, every) for name, save in wanted])
        return plan
    except (_Failed, OSError) as error:  # a kernel that cannot be had is no reason to end a run
        warnings.warn(f"the LSTM runs as a scan, without its own kernel: {error}", stacklevel=4)
        return None


def _inside(inputs: int) -> int:
    """Inputs whose part of z the kernel computes; 0: it is given."""
    return inputs if inputs < PRODUCT_INPUTS else 0


def plan_of(batch: int, steps: int, inputs: int, units: int, together: int) -> Plan:
    """The plan whose steps take the least time, where `together` clusters run at once."""
    padded = -(-units // 128) * 128
    if together < 1:
        raise _Failed(f"no cluster of {padded // 32} SMs fits")
    found = []
    for eights in EIGHTS:
        waves = -(-batch // (8 * eights * together))
        rows = -(-batch // (waves * together))
        cost = waves * (4 + eights)  # as measured: a step of 8, 16, 32 rows takes 1 : 1.2 : 1.6
        plan = Plan(padded, batch, steps, _inside(inputs), eights, rows, -(-batch // rows))
        found.append((cost, plan))
    return min(found)[1]


# From one differentiable function to two kernels.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(plan: Plan, every: bool, params: Params, x: jax.Array, state: State) -> tuple[jax.Array, State]:
    outputs, last, *_ = _forward(plan, every, False, params, x, state)
    return outputs, last


def _run_forward(plan: Plan, every: bool, params: Params, x: jax.Array, state: State):
    outputs, last, before, saved = _forward(plan, every, True, params, x, state)
    return (outputs, last), (params, x, last.c, before, saved)


def _run_backward(plan: Plan, every: bool, residuals, cotangents):
    (params, x, c_last, before, saved), (d_outputs, d_last) = lstm._once((residuals, cotangents))
    units, (batch, steps, inputs) = plan.units, x.shape
    few = plan.inputs > 0
    d_z, d_h, d_c, small = _call(
        "lstm_backward",
        plan,
        every,
        True,
        [
            jax.ShapeDtypeStruct((steps, batch, units, 4), jnp.bfloat16),
            jax.ShapeDtypeStruct((batch, units), jnp.float32),
            jax.ShapeDtypeStruct((batch, units), jnp.float32),
            jax.ShapeDtypeStruct((plan.clusters, inputs + 1, 4 * units) if few else (1,), jnp.float32),
        ],
        backward_weights(params.recurrent_kernel),
        x if few else jnp.zeros(1),
        saved,
        c_last,
        d_outputs if every else jnp.zeros(1),
        d_last.h,
        d_last.c,
    )
    rows = d_z.reshape(-1, 4 * units)
    d_recurrent = _over_rows(before.reshape(-1, units), rows).reshape(units, units, 4).swapaxes(1, 2)
    if few:
        small = jnp.sum(small, axis=0)
        d_kernel, d_bias = small[:-1], small[-1]
    else:
        x_rows = x.swapaxes(0, 1).reshape(-1, inputs).astype(jnp.bfloat16)
        d_kernel = _over_rows(x_rows, rows).reshape(inputs, units, 4).swapaxes(1, 2).reshape(inputs, 4 * units)
        d_bias = jnp.sum(rows.astype(jnp.float32), axis=0).reshape(units, 4).T.reshape(-1)
    interleaved = params.kernel.reshape(inputs, 4, units).swapaxes(1, 2).reshape(inputs, 4 * units)
    d_x = _product_as_scan(rows, interleaved.T).reshape(steps, batch, inputs).swapaxes(0, 1)
    d_params = Params(d_kernel, d_recurrent.reshape(units, 4 * units), d_bias)
    return d_params, d_x, State(d_h, d_c)


_run.defvjp(_run_forward, _run_backward)


def _forward(plan: Plan, every: bool, save: bool, params: Params, x: jax.Array, state: State):
    """outputs (None unless every), the last state, and for the backward kernel h before each step and the gates."""
    params, x, state = lstm._once((params, x, state))  # the kernels' own derivative is written out, and it has none
    units, (batch, steps, _) = plan.units, x.shape
    nothing = jax.ShapeDtypeStruct((1,), jnp.float32)
    blocks = plan.clusters * plan.size
    if not plan.inputs:
        x = _product_of_inputs(params, x)
    h, c, before, saved, outputs = _call(
        "lstm_forward",
        plan,
        every,
        save,
        [
            jax.ShapeDtypeStruct((batch, units), jnp.float32),
            jax.ShapeDtypeStruct((batch, units), jnp.float32),
            jax.ShapeDtypeStruct((steps, batch, units), jnp.bfloat16) if save else nothing,
            jax.ShapeDtypeStruct((steps, blocks, plan.pieces, 256, 4), jnp.uint32) if save else nothing,
            jax.ShapeDtypeStruct((batch, steps, units), jnp.float32) if every else nothing,
        ],
        forward_weights(params.recurrent_kernel),
        params.kernel,
        params.bias,
        x,
        state.h,
        state.c,
    )
    return outputs if every else None, State(h, c), before, saved


def _halved(units: int) -> jax.Array:
    """sigmoid(z) = .5 tanh(.5 z) + .5: the factor inside, by gate; exact, so it changes no bit of z."""
    return jnp.array([0.5, 0.5, 1.0, 0.5])[:, None] * jnp.ones(units)


def forward_weights(recurrent_kernel: jax.Array) -> jax.Array:
    """bfloat16 [SM, k-step, thread, 8]: each thread's fragments of W^T, gates as rows.

    A fragment's rows are q and q + 8 of a warp's 16, q = lane / 4; of unit q / 2, even q hold gates i and f, odd q
    g and o.
    """
    units = recurrent_kernel.shape[0]
    scaled = (recurrent_kernel * _halved(units).reshape(-1)).astype(jnp.bfloat16)
    #                       k: step,      half, pair, low;  column: gate = (odd, p), SM, warp, quad / 2
    apart = scaled.reshape(units // 16, 2, 4, 2, 2, 2, units // 32, 8, 4)
    k, half, pair, low, odd, p, sm, warp, quad = range(9)
    return apart.transpose(sm, k, warp, quad, odd, pair, half, p, low).reshape(units // 32, units // 16, 256, 8)


def backward_weights(recurrent_kernel: jax.Array) -> jax.Array:
    """bfloat16 [SM, to SM, k-step, thread of 128, 4]: fragments of W, units as rows; k is 4 * unit + gate of the SM."""
    units = recurrent_kernel.shape[0]
    #          unit: to SM, warp, quad;  column: gate = (high, low), SM, k-step, half, pair / 2
    apart = recurrent_kernel.astype(jnp.bfloat16).reshape(units // 32, 4, 8, 2, 2, units // 32, 8, 2, 2)
    to, warp, quad, high, low, sm, k, half, pair = range(9)
    return apart.transpose(sm, to, k, warp, quad, pair, high, half, low).reshape(units // 32, units // 32, 8, 128, 4)


def _product_of_inputs(params: Params, x: jax.Array) -> jax.Array:
    """x Wx + b, float32 [B, T, 4H], a thread's two gates beside each other and scaled as the kernel wants them."""
    units, inputs = params.recurrent_kernel.shape[0], x.shape[-1]

    def by_thread(columns: jax.Array) -> jax.Array:
        scaled = columns * _halved(units).reshape(-1)
        #            gate = (odd, p), SM, warp, quad / 2
        apart = scaled.reshape(-1, 2, 2, units // 32, 8, 4)
        return apart.transpose(0, 3, 4, 5, 1, 2).reshape(-1, 4 * units)

    product = _product_as_scan(x.reshape(-1, inputs), by_thread(params.kernel))
    return (product + by_thread(params.bias[None])).reshape(*x.shape[:2], 4 * units)


def _product_as_scan(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b with inputs or their gradients, as exact as the scan has it: of few in float32, of many in bfloat16."""
    if min(a.shape[1], b.shape[1]) <= lstm.FUSED_INPUTS:
        return jnp.dot(a.astype(jnp.float32), b.astype(jnp.float32), precision=lax.Precision.HIGHEST)
    return jnp.dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


def _over_rows(a: jax.Array, b: jax.Array) -> jax.Array:
    """a^T b, summed in float32."""
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)


def _pad_last(array: jax.Array, units: int) -> jax.Array:
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, units - array.shape[-1])])


def _pad(params: Params, units: int) -> Params:
    """With units that stay 0: their weights are 0, so g is, and c = .5 c + .5 g."""
    real = params.recurrent_kernel.shape[0]
    if real == units:
        return params
    kernel, recurrent, bias = (_pad_last(p.reshape(*p.shape[:-1], 4, real), units) for p in params)
    recurrent = jnp.pad(recurrent, [(0, units - real), (0, 0), (0, 0)])
    return Params(kernel.reshape(-1, 4 * units), recurrent.reshape(units, 4 * units), bias.reshape(4 * units))


# Compiling and launching.


def shared_bytes(name: str, units: int, eights: int) -> int:
    part = 512 * eights  # 32 units x 8 * eights rows of bfloat16
    parts = 2 * (units // 32) + (8 if name == "lstm_backward" else 0)
    return parts * part + 2 * 8 * eights * 16 + 2 * 16 * 8  # inputs, barriers


def threads(name: str) -> int:
    return 384 if name == "lstm_forward" else 256


def source(eights: int) -> str:
    """The kernels' source, with the tensor core instruction for this many rows written out."""
    count = 4 * eights
    numbers = ", ".join(f"%{i}" for i in range(count))
    outputs = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    instruction = (
        "__device__ __forceinline__ void wgmma(float* d, const u32* a, u64 b, int add) {\n"
        f'  asm volatile("{{\\n.reg .pred p;\\nsetp.ne.b32 p, %{count + 5}, 0;\\n"\n'
        f'    "wgmma.mma_async.sync.aligned.m64n{8 * eights}k16.f32.bf16.bf16 {{{numbers}}}, "\n'
        f'    "{{%{count}, %{count + 1}, %{count + 2}, %{count + 3}}}, %{count + 4}, p, 1, 1, 0;\\n}}"\n'
        f'    : {outputs} : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));\n}}\n'
    )
    return Path(__file__).with_suffix(".cu").read_text().replace("//WGMMA", instruction)


class _Failed(Exception):
    pass


class _LaunchAttribute(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_int), ("value", ctypes.c_uint * 16)]


class _LaunchConfig(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_LaunchAttribute)),
        ("count", ctypes.c_uint),
    ]


class _Driver:
    """CUDA's driver and its run-time compiler, through ctypes."""

    _one: _Driver | None = None
    _lock = threading.Lock()

    @classmethod
    def get(cls) -> _Driver:
        with cls._lock:
            if cls._one is None:
                cls._one = cls()
            return cls._one

    def __init__(self) -> None:
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.nvrtc = ctypes.CDLL(_nvrtc_path())
        self.context = ctypes.c_void_p()
        self.check(self.cuda.cuInit(0))
        count, major = ctypes.c_int(), ctypes.c_int()
        self.check(self.cuda.cuDeviceGetCount(ctypes.byref(count)))
        self.devices = [ctypes.c_int() for _ in range(count.value)]
        self.hopper = count.value > 0
        for place, device in enumerate(self.devices):
            self.check(self.cuda.cuDeviceGet(ctypes.byref(device), place))
            self.check(self.cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device))
            self.hopper = self.hopper and major.value == 9
        self.check(self.cuda.cuDevicePrimaryCtxRetain(ctypes.byref(self.context), self.devices[0]))

    def check(self, code: int) -> None:
        if code:
            text = ctypes.c_char_p()
            self.cuda.cuGetErrorString(code, ctypes.byref(text))
            raise _Failed((text.value or b"").decode() or f"CUDA error {code}")

    def compile(self, text: str, options: list[str]) -> bytes:
        program = ctypes.c_void_p()

        def check(code: int) -> None:
            if code:
                size = ctypes.c_size_t()
                self.nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
                log = ctypes.create_string_buffer(size.value + 1)
                self.nvrtc.nvrtcGetProgramLog(program, log)
                raise _Failed(f"NVRTC error {code}: {log.value.decode(errors='replace')[:2000]}")

        check(self.nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"persistent_lstm.cu", 0, None, None))
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        check(self.nvrtc.nvrtcCompileProgram(program, len(options), given))
        size = ctypes.c_size_t()
        check(self.nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
        code = ctypes.create_string_buffer(size.value)
        check(self.nvrtc.nvrtcGetCUBIN(program, code))
        self.nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
        return code.raw

    def load(self, code: bytes, name: str, shared: int) -> ctypes.c_void_p:
        library, kernel = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.cuda.cuLibraryLoadData(ctypes.byref(library), code, None, None, 0, None, None, 0))
        self.check(self.cuda.cuLibraryGetKernel(ctypes.byref(kernel), library, name.encode()))
        # 8: dynamic shared memory beyond 48 KB; 14: clusters beyond 8.
        for attribute, value in ((8, shared), (14, 1)):
            for device in self.devices:
                self.check(self.cuda.cuKernelSetAttribute(attribute, value, kernel, device))
        return kernel

    def config(self, clusters: int, size: int, block: int, shared: int, stream: int | None = None) -> _LaunchConfig:
        attribute = _LaunchAttribute(4, 0)  # the cluster's dimensions
        attribute.value[0], attribute.value[1], attribute.value[2] = size, 1, 1
        one = ctypes.c_uint * 3
        return _LaunchConfig(one(clusters * size, 1, 1), one(block, 1, 1), shared, stream, ctypes.pointer(attribute), 1)

    def together(self, kernel: ctypes.c_void_p, size: int, block: int, shared: int) -> int:
        """How many clusters run at once."""
        found, config, old = ctypes.c_int(), self.config(1, size, block, shared), ctypes.c_void_p()
        self.check(self.cuda.cuCtxPushCurrent_v2(self.context))
        try:
            self.check(self.cuda.cuOccupancyMaxActiveClusters(ctypes.byref(found), kernel, ctypes.byref(config)))
        finally:
            self.cuda.cuCtxPopCurrent_v2(ctypes.byref(old))
        return found.value

    def launch(self, kernel: ctypes.c_void_p, config: _LaunchConfig, pointers: list[int], numbers: list[int]) -> int:
        values: list[Any] = [ctypes.c_void_p(pointer) for pointer in pointers]
        values += [ctypes.c_int(number) for number in numbers]
        array = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        return self.cuda.cuLaunchKernelEx(ctypes.byref(config), kernel, array, None)


def _nvrtc_path() -> str:
    """jax's CUDA packages bring NVRTC; else whatever the system has."""
    found = importlib.util.find_spec("nvidia")
    for place in list(found.submodule_search_locations or []) if found else []:
        for path in sorted(glob.glob(os.path.join(place, "*", "lib", "libnvrtc.so.1[2-9]"))):
            return path
    return "libnvrtc.so"


@functools.cache
def _kernel(name: str, units: int, eights: int, inputs: int, save: bool, every: bool) -> ctypes.c_void_p:
    driver = _Driver.get()
    sizes = {"H": units, "NT": eights, "INPUTS": inputs, "SAVE": int(save), "EVERY": int(every), "GROUP": GROUP}
    flags = ["--gpu-architecture=sm_90a", "--std=c++17", *(f"-D{key}={value}" for key, value in sizes.items())]
    return driver.load(driver.compile(source(eights), flags), name, shared_bytes(name, units, eights))


def _build(wanted: list[tuple]) -> list[ctypes.c_void_p]:
    """Several kernels at once: each takes its compiler a second or two."""
    with ThreadPoolExecutor(len(wanted)) as pool:
        return list(pool.map(lambda one: _kernel(*one), wanted))


@functools.cache
def _capacity(units: int, inputs: int) -> int:
    """How many clusters run at once, for the largest share of the batch; smaller ones need no more room."""
    eights, names = EIGHTS[-1], ("lstm_forward", "lstm_backward")
    kernels = _build([(name, units, eights, inputs, True, False) for name in names])
    return min(
        _Driver.get().together(kernel, units // 32, threads(name), shared_bytes(name, units, eights))
        for name, kernel in zip(names, kernels, strict=True)
    )


def _call(name: str, plan: Plan, every: bool, save: bool, outputs: list, *arguments: jax.Array) -> list:
    target = _target(name, plan, every, save)
    return list(jax.ffi.ffi_call(target, outputs, vmap_method="sequential")(*arguments))


# The handler: what XLA calls to launch a kernel on its stream. The structures are those of xla/ffi/api/c_api.h.


class _Extension(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("type", ctypes.c_int), ("next", ctypes.c_void_p)]


class _Version(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    ]


class _Metadata(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("version", _Version), ("traits", ctypes.c_uint32)]


class _MetadataExtension(ctypes.Structure):
    _fields_ = [("base", _Extension), ("metadata", ctypes.POINTER(_Metadata))]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
    ]


class _Buffers(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    ]


class _StreamGet(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
    ]


class _ErrorCreate(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    ]


_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


class _Api(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("error_create", _FUNCTION),
        ("error_message", ctypes.c_void_p),
        ("error_destroy", ctypes.c_void_p),
        ("register", ctypes.c_void_p),
        ("stream_get", _FUNCTION),
    ]


class _Frame(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("arguments", _Buffers),
        ("results", _Buffers),
    ]


def _pointers(frame: _Frame) -> list[int]:
    """The addresses of arguments and results."""
    both = (frame.arguments, frame.results)
    return [buffers.items[i].contents.data or 0 for buffers in both for i in range(buffers.size)]


def _handler(launch: Any) -> Any:
    """A C function that XLA can call: it gives launch(stream, pointers) the addresses of arguments and results."""

    def handle(address: int) -> int | None:
        frame = _Frame.from_address(address)
        api = frame.api.contents
        if frame.extension and _Extension.from_address(frame.extension).type == 1:
            metadata = _MetadataExtension.from_address(frame.extension).metadata.contents
            metadata.version.major, metadata.version.minor = api.version.major, api.version.minor
            metadata.traits = 1  # always the same launch, so a command buffer may record it
            return None
        try:
            get = _StreamGet(ctypes.sizeof(_StreamGet), None, frame.context, None)
            error = api.stream_get(ctypes.addressof(get))
            if error:
                return error
            launch(get.stream, _pointers(frame))
            return None
        except Exception as failure:  # an exception cannot cross into C
            text = f"persistent LSTM: {failure}".encode()
            create = _ErrorCreate(ctypes.sizeof(_ErrorCreate), None, text, 13)
            return api.error_create(ctypes.addressof(create))

    return _FUNCTION(handle)


_handlers: list[Any] = []  # XLA keeps their addresses


@functools.cache
def _target(name: str, plan: Plan, every: bool, save: bool) -> str:
    driver = _Driver.get()
    kernel = _kernel(name, plan.units, plan.eights, plan.inputs, save, every)
    shared = shared_bytes(name, plan.units, plan.eights)
    numbers = [plan.batch, plan.steps, plan.rows]

    def launch(stream: int, pointers: list[int]) -> None:
        driver.check(
            driver.launch(
                kernel, driver.config(plan.clusters, plan.size, threads(name), shared, stream), pointers, numbers
            )
        )

    _handlers.append(_handler(launch))
    target = f"persistent_{name}_{len(_handlers)}"
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(_handlers[-1]), platform="CUDA")
    return target
