"""What the flags of `generate` ask for, checked before anything slow starts. Needs no JAX."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from musicjax import arguments
from musicjax.config import SampleConfig
from musicjax.encodings import sampling_params
from musicjax.encodings.plan import MOST_SECONDS, Length
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import UsageError
from musicjax.generation import rework as rework_lib
from musicjax.generation.rework import NOTHING, Rework
from musicjax.music import instruments, melody_text

MEASURES = ("num_notes", "seconds", "bars", "beats")
DECODES = ("staggered", "window", "carry")
AUDIO_KINDS = ("wav", "flac", "ogg")
# Up to this many pieces get sound files if --audio does not say.
FEW_OUTPUTS = 16
LOWEST_BPM, HIGHEST_BPM = 10.0, 1000.0
MOST_OUTPUTS = 10_000
# Flags that only a model with controls obeys: those that say how bins are drawn, and those that count beats.
NEED_CONTROLS = (
    *(name for name in sampling_params.LISTS if name != "temperature"),
    *sampling_params.TEMPERATURES,
    "pitch_range",
    "bpm",
    "bars",
    "beats",
    "sweep",
)
# Flags that only models that know the form of pieces obey.
NEED_FORM = ("instruments", "stop_loops", "best_of")


@dataclasses.dataclass(frozen=True)
class Request:
    """What a call of `generate` asks for.

    Attributes:
        num_outputs: how many pieces; in a sweep, of each combination.
        length, seed, decode, bpm: as `generate.generate` takes them.
        sampling: of each output; in a sweep, of each combination.
        sweep: whether `sampling` lists combinations.
        program: the instrument of all notes but drums; None: their own.
        audio: kind of sound file beside each piece, or none.
        soundfont: for the sound; empty: one found on this machine.
        need_controls, need_form: flags given that only a model with controls obeys, or one that knows form.
        given: sampling parameters that were given as flags.
        rework: what happens to a given piece.
    """

    num_outputs: int
    length: Length
    seed: int
    decode: str
    bpm: float | None
    sampling: tuple[SamplingParams, ...]
    sweep: bool
    program: int | None
    audio: str
    soundfont: str
    need_controls: tuple[str, ...]
    need_form: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    rework: Rework = NOTHING


def of(options: Mapping[str, Any]) -> Request:
    """The request that the flags of `generate` make.

    Raises:
        UsageError: a value is out of range, or does not go with another.
    """
    length = Length(**{name: options[name] or 0 for name in MEASURES}, exact=bool(options["exact"]))
    outputs, seed, decode, bpm = (options[name] for name in ("num_outputs", "seed", "decode", "bpm"))
    arguments.require_number("num_outputs", outputs, int, 1, MOST_OUTPUTS)
    check(outputs, length, seed, decode, bpm)
    if length.exact and options["best_of"] is not None:
        raise UsageError("--best_of and --exact are given: expected one of them; only pieces that end are compared")
    program = instruments.program_of(options["program"]) if options["program"] else None
    values, sweep = sampling_params.from_flags(options), bool(options["sweep"])
    combinations = math.prod(map(len, values.values()))
    if sweep and combinations * outputs > MOST_OUTPUTS:
        raise UsageError(
            f"sweep of {combinations} combinations, num_outputs={outputs} of each: expected 1..{MOST_OUTPUTS} pieces"
        )
    sampling = sampling_params.grid(values) if sweep else sampling_params.in_turn(values, outputs)
    # Also those that no output takes, because there are more values than outputs.
    for one in [*sampling, *sampling_params.in_turn(values, max(map(len, values.values()), default=0))]:
        sampling_params.check(one)
    if melody_text.is_melody(options["primer"]):
        melody_text.entries(options["primer"])
    melody_text.require_no_names(options["primer"])
    need = [f"--{name}" for name in NEED_CONTROLS if options[name] not in (None, False)]
    need += ["--temperature with several values"] * (len(values.get("temperature", ())) > 1)
    audio = _audio(options["audio"], outputs * (combinations if sweep else 1))
    soundfont = options["soundfont"]
    rework = rework_lib.of(options)
    need_form = [f"--{name}" for name in NEED_FORM if options[name] is not None] + [f"--{rework.kind}"] * bool(
        rework.kind
    )
    return Request(
        outputs,
        length,
        seed,
        decode,
        bpm,
        tuple(sampling),
        sweep,
        program,
        audio,
        soundfont,
        tuple(need),
        tuple(need_form),
        tuple(values),
        rework,
    )


def complete(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options that `of` reads: those that are given, and the defaults of the others."""
    names = (*MEASURES, *NEED_CONTROLS, *NEED_FORM, *rework_lib.NOT_WITHIN_A_PIECE, *rework_lib.NOT_WITH_A_PIECE)
    names += (*sampling_params.KINDS, *(name for own in rework_lib.OWN.values() for name in own))
    unsaid = {"num_outputs": 1, "seed": 0, "decode": "auto", "audio": "none", "exact": False, "sweep": False}
    texts = dict.fromkeys(("primer", "infill", "vary", "soundfont"), "")
    return {**dict.fromkeys(names), **unsaid, **texts, "keep": False, **options}


def filled(request: Request, sample: SampleConfig) -> Request:
    """The request, with the values of a run's config where no flag says otherwise."""
    return dataclasses.replace(request, sampling=_filled(request.sampling, sample, request.given))


def as_config(
    params: Sequence[SamplingParams], sample: SampleConfig, sampling: object, temperature: float | None
) -> tuple[SamplingParams, ...]:
    """What `sampling_of` gave for these arguments, with the values of a run's config where they say nothing."""
    if sampling is not None:
        return tuple(params)
    return _filled(params, sample, () if temperature is None else ("temperature",))


def _filled(
    params: Sequence[SamplingParams], sample: SampleConfig, given: Collection[str]
) -> tuple[SamplingParams, ...]:
    left = {name: value for name, value in sampling_params.values_of(sample).items() if name not in given}
    return tuple(sampling_params.with_factors(dataclasses.replace(one, **left), sample, given) for one in params)


def check(
    num_outputs: int,
    length: Length,
    seed: int,
    decode: str = "auto",
    bpm: float | None = None,
    numbers: Sequence[int] | None = None,
) -> None:
    """Raises UsageError if a value of the request has the wrong type or is out of range."""
    if decode not in ("auto", *DECODES):
        raise UsageError(f"decode={decode!r}: expected one of auto, {', '.join(DECODES)}")
    arguments.require_number("num_outputs", num_outputs, int, 0, MOST_OUTPUTS)
    arguments.require_number("num_notes", length.num_notes, int, 0, 1_000_000)
    arguments.require_number("seconds", length.seconds, float, 0.0, MOST_SECONDS)
    arguments.require_number("bars", length.bars, float, 0.0, 100_000.0)
    arguments.require_number("beats", length.beats, float, 0.0, 1_000_000.0)
    arguments.require_number("seed", seed, int, 0, 2**31 - 1)
    if bpm is not None:
        arguments.require_number("bpm", bpm, float, LOWEST_BPM, HIGHEST_BPM)
    if numbers is not None:
        arguments.require("numbers", numbers, Sequence, "the number of each piece, such as [0, 1]")
        for number in numbers:
            arguments.require_number("numbers", number, int, 0, MOST_OUTPUTS - 1)
        if len(numbers) != num_outputs:
            raise UsageError(f"{len(numbers)} numbers for num_outputs={num_outputs}: expected one for each")
    if sum(length.measured) > 1:
        raise UsageError(
            f"num_notes={length.num_notes}, seconds={length.seconds:g}, bars={length.bars:g}, beats={length.beats:g}: "
            "expected at most one of the four"
        )


def sampling_of(
    sampling: SamplingParams | Sequence[SamplingParams] | None, temperature: float | None, outputs: int
) -> tuple[SamplingParams, ...]:
    """The sampling parameters of each output; raises UsageError if one is out of range."""
    if sampling is not None and temperature is not None:
        raise UsageError(f"temperature={temperature} and sampling are both given: expected the temperature in sampling")
    several = [sampling] if isinstance(sampling, SamplingParams) else sampling
    if several is None:
        several = [SamplingParams(temperature=1.0 if temperature is None else temperature)]
    if not isinstance(several, Sequence) or not all(isinstance(one, SamplingParams) for one in several):
        raise arguments.wrong("sampling", sampling, "SamplingParams, or several that the outputs take in turn")
    if outputs and not several:
        raise UsageError("sampling: expected parameters for at least one output")
    found = []
    for one in several:
        sampling_params.check(one)
        low, high = one.pitch_range
        # Lists as tuples, so that equal parameters can be looked up.
        found.append(dataclasses.replace(one, pitch_range=(low, high), instruments=tuple(one.instruments)))
    return tuple(found[k % len(found)] for k in range(outputs))


def require_controls(encoding: Any, asked: Sequence[str]) -> None:
    """Raises UsageError if something is asked for that a model of this encoding does not obey."""
    if asked and not encoding.has_controls:
        raise UsageError(
            f"{', '.join(asked)}: expected a note-event model (--config=events), but this one models "
            f"{encoding.config.data.encoding}; leave it out"
        )


def require_form(encoding: Any, asked: Sequence[str]) -> None:
    """Raises UsageError if something is asked for that needs a model whose rows know the form of a piece."""
    if asked and not encoding.has_form:
        kind = "note events without form" if encoding.has_controls else encoding.config.data.encoding
        raise UsageError(
            f"{', '.join(asked)}: expected a note-event model that knows the form of pieces, such as this "
            f"version trains with --config=events, but this one models {kind}; leave it out"
        )


def require_keepable(primer: Any, bpm: float | None) -> None:
    """Raises UsageError unless there is a primer to keep, at its own tempo."""
    if primer is None:
        raise UsageError("keep=True without a primer: expected the piece to keep and continue")
    if bpm is not None:
        raise UsageError(f"bpm={bpm} and keep=True: expected one of them; the piece keeps its tempo")


def require_own_key(params: Sequence[SamplingParams], name: str) -> None:
    """Raises UsageError if a key or a meter is asked for, where a piece has its own."""
    for field in ("key", "meter"):
        for given in [getattr(one, field) for one in params if getattr(one, field)]:
            raise UsageError(f"{field}={given} and {name}: expected one of them; the piece keeps its own {field}")


def _audio(asked: str, pieces: int) -> str:
    """The kind of sound file; auto: WAV for a few pieces, none for many. Raises UsageError for an unknown kind."""
    if asked not in ("auto", "none", *AUDIO_KINDS):
        raise UsageError(f"audio={asked!r}: expected auto, none, {', '.join(AUDIO_KINDS)}")
    if asked != "auto":
        return asked
    return "wav" if pieces <= FEW_OUTPUTS else "none"
