"""A call of `generate` as its flags give it: checked before anything that is slow. Without JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from musicjax.config import SampleConfig
from musicjax.errors import UsageError
from musicjax.generation import sampling_params as setting_lib
from musicjax.generation.sampling_params import Setting
from musicjax.music import melody_text as primer_lib

NOTES_IF_NO_LENGTH = 300
LENGTHS = ("num_notes", "seconds", "bars")
DECODES = ("staggered", "window", "carry")
BEATS_A_BAR = 4
LOWEST_BPM, HIGHEST_BPM = 10.0, 1000.0
MOST_OUTPUTS, MOST_SECONDS = 10_000, 86_400.0
# Flags that steer how bins are drawn, or are counted in beats, which other models do not know.
OF_EVENTS = (*(name for name in setting_lib.LISTS if name != "temperature"), *setting_lib.TEMPERATURES)
OF_EVENTS += ("pitch_range", "bpm", "bars", "sweep")


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        num_outputs: how many pieces; of a sweep, of each setting.
        num_notes, seconds, bars: the length, the other two 0.
        seed, decode: as `generate.generate` takes them.
        settings: one for each output; of a sweep the grid.
        sweep: whether settings are a grid.
        bpm: quarter notes a minute; None: the data's.
        program: General MIDI number.
        of_events: flags given that need a model of events.
        given: fields of the settings that flags give.
    """

    num_outputs: int
    num_notes: int
    seconds: float
    bars: float
    seed: int
    decode: str
    settings: tuple[Setting, ...]
    sweep: bool
    bpm: float | None
    program: int
    of_events: tuple[str, ...]
    given: tuple[str, ...] = ()

    @property
    def temperature(self) -> float:
        """Of models that know no other control."""
        return self.settings[0].temperature if self.settings else 1.0


def of(options: Mapping[str, Any]) -> Request:
    """The request that the flags of `generate` make.

    Raises:
        UsageError: a value that is out of range, or does not go with another.
    """
    num_notes, seconds, bars = (options[name] or 0 for name in LENGTHS)
    if all(options[name] is None for name in LENGTHS):
        num_notes = NOTES_IF_NO_LENGTH
    outputs, seed, decode, bpm = (options[name] for name in ("num_outputs", "seed", "decode", "bpm"))
    check(outputs, num_notes, seconds, bars, seed, decode, bpm)
    program = options["program"] or 0
    if not 0 <= program <= 127:
        raise UsageError(f"program={program}: expected a General MIDI number, 0..127 (0: piano)")
    values = setting_lib.from_flags(options)
    sweep = bool(options["sweep"])
    settings = setting_lib.grid(values) if sweep else setting_lib.in_turn(values, outputs)
    # Also what no output comes to, as where there are more values than outputs.
    for setting in [*settings, *setting_lib.in_turn(values, max(map(len, values.values()), default=0))]:
        setting_lib.check(setting)
    if sweep and not 0 < len(settings) * outputs <= MOST_OUTPUTS:
        raise UsageError(
            f"sweep of {len(settings)} settings, num_outputs={outputs} of each: expected 1..{MOST_OUTPUTS} pieces"
        )
    if primer_lib.is_melody(options["primer"]):
        primer_lib.entries(options["primer"])
    given = [f"--{name}" for name in OF_EVENTS if options[name] not in (None, False)]
    given += ["--temperature with several values"] * (len(values.get("temperature", ())) > 1)
    return Request(
        outputs,
        num_notes,
        seconds,
        bars,
        seed,
        decode,
        tuple(settings),
        sweep,
        bpm,
        program,
        tuple(given),
        tuple(values),
    )


def filled(request: Request, sample: SampleConfig) -> Request:
    """The request, in which what no flag gives is as a run's config says of its samples."""
    own = setting_lib.of_config(sample)
    left = {name: getattr(own, name) for name in setting_lib.OF_CONFIG if name not in request.given}
    settings = tuple(dataclasses.replace(setting, **left) for setting in request.settings)
    return dataclasses.replace(request, settings=settings)


def check(
    num_outputs: int,
    num_notes: int,
    seconds: float,
    bars: float,
    seed: int,
    decode: str = "auto",
    bpm: float | None = None,
) -> None:
    """Raises UsageError for a request out of range; num_notes, seconds or bars is 0 where not asked for."""
    if decode not in ("auto", *DECODES):
        raise UsageError(f"decode={decode!r}: expected one of auto, {', '.join(DECODES)}")
    for name, value, low, high in (
        ("num_outputs", num_outputs, 0, MOST_OUTPUTS),
        ("num_notes", num_notes, 0, 1_000_000),
        ("seconds", seconds, 0.0, MOST_SECONDS),
        ("bars", bars, 0.0, 100_000.0),
        ("seed", seed, 0, 2**31 - 1),
        ("bpm", 120.0 if bpm is None else bpm, LOWEST_BPM, HIGHEST_BPM),
    ):
        if not low <= value <= high:  # also refuses nan
            raise UsageError(f"{name}={value}: expected {low}..{high}")
    if sum(map(bool, (num_notes, seconds, bars))) != 1:
        raise UsageError(
            f"num_notes={num_notes}, seconds={seconds:g}, bars={bars:g}: expected exactly one of the three lengths "
            "above 0"
        )


def require_events(encoding: str, of_events: Sequence[str]) -> None:
    """Raises UsageError where flags are given that a model of this encoding has no use for."""
    if encoding != "events" and of_events:
        raise UsageError(
            f"{', '.join(of_events)}: expected a model of events (--config=events), and this one is of {encoding}; "
            "leave it out"
        )
