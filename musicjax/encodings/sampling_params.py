"""Sampling parameters: how an output of a note-event model is drawn, as numbers or as the text of flags.

Nothing here needs JAX, so a wrong value is reported without delay.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral
from typing import Any

from musicjax import arguments, renamed
from musicjax.config import EventsSample, SampleConfig
from musicjax.errors import UsageError
from musicjax.music import bar_position, instruments

TEMPERATURES = ("interval_temperature", "pitch_temperature", "duration_temperature", "velocity_temperature")
# Fields for which flags may list several values, and their type; then the range of each, both ends included.
LISTS = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "key": str,
    "scale": str,
    "meter": str,
    "polyphony": int,
    "no_repeat": int,
    "longest_match": int,
}
# In a list of keys, scales or meters: no key, scale or meter.
NONE = "none"
KINDS = {**LISTS, "best_of": int}


def _declared(section: type, name: str) -> tuple[float, float]:
    """The range of a config's field."""
    rules = section.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    return rules["low"], rules["high"]


RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("temperature", *TEMPERATURES), _declared(SampleConfig, "temperature")),
    "top_k": (0, 1000),
    "top_p": _declared(EventsSample, "top_p"),
    "min_p": _declared(EventsSample, "min_p"),
    "no_repeat": _declared(EventsSample, "no_repeat"),
    "best_of": _declared(EventsSample, "best_of"),
    "polyphony": (0, 64),
    "longest_match": (0, 1_000_000),
}
DIGITS = 12  # of a temperature that is a product
LONGEST_RUN, LONGEST_MATCH = int(RANGES["no_repeat"][1]), int(RANGES["longest_match"][1])


@renamed.takes_old_keywords
@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """How one output is drawn.

    Attributes:
        temperature: divides the logits; 0: the likeliest bin of each column.
        interval_temperature, ...: of that column alone; None: `temperature`.
        top_k: only the k likeliest bins of a column; 0: all.
        top_p: only the likeliest that together have this probability, above 0; 1: all.
        min_p: only bins with at least this share of the likeliest one's probability; 0: all.
        key: such as "D", "Dm" or "F#:dorian". A model that knows keys writes music in it; others have the mask below.
        scale: only the pitches of this scale, on the tonic of the key, or else on that of each output.
        meter: a time signature such as "3/4"; empty: that of what is continued.
        pitch_range: lowest and highest pitch, MIDI numbers.
        polyphony: most notes that sound at once; 0: any number.
        no_repeat: never repeat a run of this many pitches, 2..32; 0: runs may repeat.
        longest_match: the model sees what followed a match of at most this many notes; 0: never.
        best_of: of this many tries that come to an end, the one most like a training piece is kept, by its scale,
            chords, repeats and ending; for a model that knows form. With a key, scale and ending are the key's.
            At temperature 0 all tries are the same.
        stop_loops: no loop goes on for longer than the longest of the training pieces.
        instruments: only these, numbers of General MIDI or names such as "piano" or "drums"; none: all.
    """

    temperature: float = 1.0
    interval_temperature: float | None = None
    pitch_temperature: float | None = None
    duration_temperature: float | None = None
    velocity_temperature: float | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    key: str = ""
    scale: str = ""
    meter: str = ""
    pitch_range: tuple[int, int] = (0, 127)
    polyphony: int = 0
    no_repeat: int = 0
    longest_match: int = LONGEST_MATCH
    best_of: int = 1
    stop_loops: bool = True
    instruments: tuple[str, ...] = ()

    @property
    def pitches(self) -> tuple[int, ...]:
        """MIDI numbers that may be drawn, for a scale without a key those in C; raises UsageError for unknown ones."""
        low, high = self.pitch_range
        if not self.key and not self.scale:
            return tuple(range(low, high + 1))
        from musicjax.music import scales  # not needed for music in any key

        return scales.pitches(self.key or "C", self.scale, low, high)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Of interval, pitch, duration and velocity."""
        own = [getattr(self, name) for name in TEMPERATURES]
        return tuple(self.temperature if value is None else value for value in own)

    @property
    def used(self) -> dict[str, Any]:
        """Every parameter as it is used, by name: the temperature of a column is a number."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, **dict(zip(TEMPERATURES, self.temperatures, strict=True))}

    def text(self, named: Collection[str] = ()) -> str:
        """What differs from the defaults, and what is named, as flags write it; empty where there is nothing."""
        fields = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        shown = {name: value for name, (value, default) in fields.items() if value != default or name in named}
        return " ".join(f"{name}={_shown(value)}" for name, value in shown.items())


def of_config(sample: SampleConfig) -> SamplingParams:
    """How the samples of a run are drawn."""
    return with_factors(SamplingParams(**values_of(sample)), sample)


def values_of(sample: SampleConfig) -> dict[str, Any]:
    """The sampling parameters that a config sets, by name."""
    own = {field.name for field in dataclasses.fields(sample.own)}
    names = [field.name for field in dataclasses.fields(SamplingParams) if field.name in own]
    return {name: getattr(sample, name) for name in ("temperature", *names)}


def with_factors(params: SamplingParams, sample: SampleConfig, given: Collection[str] = ()) -> SamplingParams:
    """The parameters with the temperatures that a config derives from the temperature, except those given by name."""
    factors = getattr(sample.own, "temperature_factors", ())
    named = zip(TEMPERATURES, factors, strict=False)
    left = {name: params.temperature * factor for name, factor in named if factor != 1 and name not in given}
    # Rounded, so that 0.75 times 0.8 is 0.6, wherever it is shown.
    return dataclasses.replace(params, **{name: round(value, DIGITS) for name, value in left.items()})


def check(params: SamplingParams) -> None:
    """Raises UsageError if a value has the wrong type or is out of range, or if no pitch is left."""
    for name, (low, high) in RANGES.items():
        value = getattr(params, name)
        if value is not None or name not in TEMPERATURES:
            arguments.require_number(name, value, KINDS.get(name, float), low, high)
    for name, example in {"key": "C", "scale": "minor", "meter": "3/4"}.items():
        arguments.require(name, getattr(params, name), str, f"a text such as {example!r}")
    if params.meter:
        bar_position.meter_of(params.meter)
    arguments.require("stop_loops", params.stop_loops, bool, "True or False")
    for instrument in arguments.list_of("instruments", params.instruments, str, "names such as 'piano'"):
        instruments.program_of(instrument, "instruments")
    pair = params.pitch_range
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise arguments.wrong("pitch_range", pair, "the lowest and the highest pitch, such as (48, 84)")
    for pitch in pair:
        arguments.require("pitch_range", pitch, Integral, "two whole numbers in 0..127")
    if params.no_repeat == 1:
        raise UsageError(f"no_repeat=1: expected 2..{LONGEST_RUN}, or 0 to let runs repeat")
    low, high = pair
    if not 0 <= low <= high <= 127:
        raise UsageError(f"pitch_range={low},{high}: expected LOW,HIGH in 0..127, LOW not above HIGH")
    if not params.pitches:
        scale = f" scale={params.scale}" if params.scale else ""
        raise UsageError(
            f"key={params.key}{scale} has no pitch in pitch_range={low},{high}: expected a wider range or another key"
        )


def from_flags(flags: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each field whose flag was given, in the order listed; flags: {name: text, number or None}.

    Raises:
        UsageError: a text is not a list of such values.
    """
    values: dict[str, list[Any]] = {}
    for name in [field.name for field in dataclasses.fields(SamplingParams)]:
        given = flags.get(name)
        if given is None:
            continue
        if name == "pitch_range":
            values[name] = [_pitch_range(given)]
        elif name == "instruments":
            values[name] = [tuple(_listed(name, given, str))]
        elif name in LISTS:
            values[name] = ["" if value == NONE else value for value in _listed(name, given, LISTS[name])]
        else:
            values[name] = [given]
    return values


def in_turn(values: Mapping[str, Sequence[Any]], outputs: int) -> list[SamplingParams]:
    """Output k has the k-th of each field's values, which start again when they run out."""
    return [
        SamplingParams(**{name: several[k % len(several)] for name, several in values.items()}) for k in range(outputs)
    ]


def grid(values: Mapping[str, Sequence[Any]]) -> list[SamplingParams]:
    """Every combination of the values, the last field's changing fastest.

    Raises:
        UsageError: no field has several values.
    """
    if all(len(several) < 2 for several in values.values()):
        raise UsageError(
            "sweep without anything to vary: expected several values of at least one flag, such as "
            f"--temperature=0.8,1.0; flags that take them: {', '.join(LISTS)}"
        )
    return [SamplingParams(**dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values())]


def _shown(value: Any) -> str:
    """The shortest text that no other value has, as a flag takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).removesuffix(".0") if type(value) is float else str(value) or NONE


def _listed(name: str, text: Any, kind: type) -> list[Any]:
    words = [word.strip() for word in str(text).split(",")]
    if len(words) > 1 and "" in words:
        raise UsageError(f"{name}={text}: item {words.index('') + 1} is empty; expected a value between commas")
    try:
        return [kind(word) for word in words]
    except ValueError as error:
        kinds = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"{name}={text}: expected {kinds}, separated by commas") from error


def _pitch_range(text: Any) -> tuple[int, int]:
    try:
        low, high = map(int, str(text).split(","))
    except ValueError as error:
        raise UsageError(f"pitch_range={text}: expected LOW,HIGH, two whole numbers in 0..127") from error
    return low, high
