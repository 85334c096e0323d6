"""Whether JAX starts here, and with settings that leave results and speed as they are; each fault is one line."""

from __future__ import annotations

import operator
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

from musicjax.errors import RunError, UsageError

_STRICT = "musicjax relies on implicit conversion and broadcasting"
_MOVES = "musicjax relies on implicit transfers to JAX"
_RANDOM = "a seed would give other random numbers"
_STOPS = "it would abort a run where musicjax keeps the last good epoch and says what happened"
_RAISES = "JAX cannot compile its checks into musicjax's programs"


def _forbids(value: Any) -> bool:
    return str(value) in ("raise", "strict", "disallow", "disallow_explicit")


# Settings of JAX, by environment variable or in Python: which values cannot be, and why.
IN_THE_WAY: dict[str, tuple[Callable[[Any], bool], str]] = {
    "jax_enable_x64": (bool, "the model is float32 throughout"),
    "jax_numpy_rank_promotion": (_forbids, _STRICT),
    "jax_numpy_dtype_promotion": (_forbids, _STRICT),
    "jax_transfer_guard": (_forbids, _MOVES),
    "jax_transfer_guard_host_to_device": (_forbids, _MOVES),
    "jax_transfer_guard_device_to_device": (_forbids, _MOVES),
    "jax_transfer_guard_device_to_host": (_forbids, _MOVES),
    "jax_threefry_partitionable": (operator.not_, _RANDOM),
    "jax_random_seed_offset": (bool, _RANDOM),
    "jax_high_dynamic_range_gumbel": (bool, _RANDOM),
    "jax_debug_nans": (bool, _STOPS),
    "jax_debug_infs": (bool, _STOPS),
    "jax_error_checking_behavior_nan": (_forbids, _RAISES),
    "jax_disable_jit": (bool, "an epoch that is not compiled takes hours"),
    "jax_scan3": (bool, "JAX cannot compile musicjax's programs with it yet"),
    "jax_no_tracing": (bool, "musicjax compiles programs"),
    "jax_no_execution": (bool, "musicjax runs programs"),
}
# The least address space (ulimit -v) with which the config demo was seen to do each, on two cores. With less, libraries
# end the process without a message, so the check comes first.
GENERATING_KIB, TRAINING_KIB = 2_000_000, 2_500_000
# What says which devices JAX may use.
PLATFORMS = ("jax_platforms", "jax_platform_name")


def require(address_space_kib: int = GENERATING_KIB) -> None:
    """`require_settings`, and also requires that JAX finds a device to compute on.

    Raises:
        UsageError: a setting stands in the way, or names devices that are not here.
        RunError: there is no device at all, or too little address space.
    """
    require_settings(address_space_kib)
    import jax

    try:
        jax.devices()
    except Exception as error:  # plugins raise many kinds, and JAX an AssertionError without words
        asked = [f"{name.upper()}={value}" for name in PLATFORMS if (value := jax.config.values.get(name))]
        reason = _reason(error) or "no such device, or nothing installed that finds it"
        if not asked:
            raise RunError(
                f"JAX finds no device to compute on: {reason}; expected at least a CPU; correct or unset {_variables()}"
            ) from error
        raise UsageError(
            f"{' '.join(asked)}: JAX cannot start ({reason}); unset it to use what there is, or install what it needs "
            "(pip install 'musicjax[cuda13]', 'musicjax[cuda12]' or 'musicjax[tpu]')"
        ) from error


def require_settings(address_space_kib: int = GENERATING_KIB) -> None:
    """Requires that JAX can be imported and no setting is in the way. It does not start JAX: processes may join first.

    Raises:
        UsageError: a setting stands in the way, or JAX cannot read one.
        RunError: JAX is not installed as it must be, or has too little address space.
    """
    require_address_space(address_space_kib)
    is_new = "jax" not in sys.modules
    try:
        import jax
    except ValueError as error:
        raise UsageError(f"JAX cannot be imported: {_reason(error)}; correct or unset {_variables()}") from error
    except Exception as error:  # a missing library, versions that do not fit: many kinds
        raise RunError(f"JAX cannot be imported: {_reason(error)}; install musicjax again") from error
    for name, (is_wrong, why) in IN_THE_WAY.items():
        value = getattr(jax.config, name, None)  # None: this version has no such setting
        value = getattr(value, "value", value)  # of an enumeration
        if value is not None and is_wrong(value):
            raise UsageError(f"{name.upper()}={value} is set, and {why}; unset it")
    if is_new and (refusal := _refused_flags()):
        raise UsageError(f"XLA_FLAGS={os.environ['XLA_FLAGS']!r}: XLA refuses it ({refusal}); correct or unset it")


def require_address_space(least_kib: int) -> None:
    """Raises RunError if this process may not have this many KiB of address space; other systems have no such limit."""
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < least_kib * 1024:
        raise RunError(
            f"out of memory before JAX starts: ulimit -v leaves {limit // 1024:,} KiB of address space; expected about "
            f"{least_kib:,} KiB or more; raise the limit"
        )


def _refused_flags() -> str:
    """What XLA says if it would end the process over its flags, as it does at the start; empty if it accepts them.

    A copy of this process tries, which takes some milliseconds. Nothing is tried without flags, or where processes
    cannot be copied.
    """
    if not os.environ.get("XLA_FLAGS") or not hasattr(os, "fork"):
        return ""
    try:
        from jaxlib.xla_client import CompileOptions
    except ImportError:  # another version of jaxlib; then XLA's own line must do
        return ""
    heard, said = os.pipe()
    with open(heard, errors="replace") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads of NumPy, which the copy does not need
        try:
            child = os.fork()
        except OSError:  # no room
            os.close(said)
            return ""
        if not child:
            try:
                os.dup2(said, 2)
                CompileOptions()
            finally:
                os._exit(0)
        os.close(said)
        lines = stream.read().splitlines()
    _, status = os.waitpid(child, 0)
    told = [line[1] for line in map(re.compile(r"[EF]\d{4} .*flags.*?\] (.+)").match, lines) if line]
    return told[0].rstrip(".") if status and told else ""


def _variables() -> str:
    """The names of the variables that JAX and XLA may read here."""
    given = [name for name in sorted(os.environ) if name.startswith(("JAX_", "XLA_"))]
    return ", ".join(given) or "the settings of JAX"


def _reason(error: Exception) -> str:
    """An error in one line, without JAX's own advice."""
    lines = str(error).strip().splitlines()
    return re.split(r" \((?:set|you may) ", lines[0])[0].rstrip(".") if lines else ""
