"""The instruments of General MIDI: their names, the words people use for them, and the groups that a model keeps."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re

import numpy as np

from musicjax import arguments
from musicjax.errors import UsageError
from musicjax.music.notes import DRUMS

PROGRAMS, FAMILY_SIZE = 128, 8
DRUMS_NAME = "drums"
# Each family and its eight instruments, in the order of their programs (General MIDI 1).
_TABLE = {
    "piano": "acoustic grand piano, bright acoustic piano, electric grand piano, honky-tonk piano, electric piano 1, "
    "electric piano 2, harpsichord, clavinet",
    "chromatic percussion": "celesta, glockenspiel, music box, vibraphone, marimba, xylophone, tubular bells, dulcimer",
    "organ": "drawbar organ, percussive organ, rock organ, church organ, reed organ, accordion, harmonica, "
    "tango accordion",
    "guitar": "acoustic guitar (nylon), acoustic guitar (steel), electric guitar (jazz), electric guitar (clean), "
    "electric guitar (muted), overdriven guitar, distortion guitar, guitar harmonics",
    "bass": "acoustic bass, electric bass (finger), electric bass (pick), fretless bass, slap bass 1, slap bass 2, "
    "synth bass 1, synth bass 2",
    "strings": "violin, viola, cello, contrabass, tremolo strings, pizzicato strings, orchestral harp, timpani",
    "ensemble": "string ensemble 1, string ensemble 2, synth strings 1, synth strings 2, choir aahs, voice oohs, "
    "synth voice, orchestra hit",
    "brass": "trumpet, trombone, tuba, muted trumpet, french horn, brass section, synth brass 1, synth brass 2",
    "reed": "soprano sax, alto sax, tenor sax, baritone sax, oboe, english horn, bassoon, clarinet",
    "pipe": "piccolo, flute, recorder, pan flute, blown bottle, shakuhachi, whistle, ocarina",
    "synth lead": "lead 1 (square), lead 2 (sawtooth), lead 3 (calliope), lead 4 (chiff), lead 5 (charang), "
    "lead 6 (voice), lead 7 (fifths), lead 8 (bass and lead)",
    "synth pad": "pad 1 (new age), pad 2 (warm), pad 3 (polysynth), pad 4 (choir), pad 5 (bowed), pad 6 (metallic), "
    "pad 7 (halo), pad 8 (sweep)",
    "synth effects": "fx 1 (rain), fx 2 (soundtrack), fx 3 (crystal), fx 4 (atmosphere), fx 5 (brightness), "
    "fx 6 (goblins), fx 7 (echoes), fx 8 (sci-fi)",
    "ethnic": "sitar, banjo, shamisen, koto, kalimba, bagpipe, fiddle, shanai",
    "percussive": "tinkle bell, agogo, steel drums, woodblock, taiko drum, melodic tom, synth drum, reverse cymbal",
    "sound effects": "guitar fret noise, breath noise, seashore, bird tweet, telephone ring, helicopter, applause, "
    "gunshot",
}
FAMILIES = tuple(_TABLE)
NAMES = tuple(name for row in _TABLE.values() for name in row.split(", "))
# What people say, where it is no name of the table, or means another program than the first of a family.
_WORDS = {
    "grand piano": 0,
    "keyboard": 0,
    "electric piano": 4,
    "vibes": 11,
    "bells": 14,
    "acoustic guitar": 24,
    "electric guitar": 27,
    "electric bass": 33,
    "bass guitar": 33,
    "double bass": 43,
    "harp": 46,
    "strings": 48,
    "string ensemble": 48,
    "choir": 52,
    "voice": 52,
    "voices": 52,
    "vocals": 52,
    "brass": 61,
    "horn": 60,
    "sax": 65,
    "saxophone": 65,
    "reed": 71,
    "pipe": 73,
    "synth": 80,
    "synthesizer": 80,
    "lead": 80,
    "pad": 88,
    "bagpipes": 109,
    "drum": DRUMS,
    "drum kit": DRUMS,
    "drum set": DRUMS,
    "percussion": DRUMS,
    DRUMS_NAME: DRUMS,
}


def name_of(program: int) -> str:
    """The name of a program in General MIDI, 0..127, or "drums", DRUMS; raises ValueError for other numbers."""
    if not 0 <= program <= DRUMS:
        raise ValueError(f"program {program}: expected 0..{DRUMS}")
    return DRUMS_NAME if program == DRUMS else NAMES[program]


def family_of(program: int) -> str:
    """The family of a program, such as "strings"; that of DRUMS is "drums"."""
    return DRUMS_NAME if program == DRUMS else FAMILIES[program // FAMILY_SIZE]


def named(text: str) -> int | None:
    """The program that has this name in General MIDI, in capitals or not, with any punctuation; None if none has."""
    return _by_name().get(_plain(text))


def program_of(text: str, name: str = "program") -> int:
    """The program that a text means: a number 0..127, a name, a family, or what people say, such as "sax".

    A family stands for its first instrument, or for the commonest one. Words that are in only one name stand for it.

    Args:
        name: what a message calls it.

    Raises:
        UsageError: it means none, or several; the message has the nearest names.
    """
    said = text.strip()
    number = re.fullmatch(r"\+?0*([0-9]{1,3})", said)
    if number and int(number[1]) < PROGRAMS:
        return int(number[1])
    if re.fullmatch(r"[+-]?[0-9]+", said):
        raise UsageError(
            f"{name}={said:.60}: expected a General MIDI number, 0..127 (0: piano), or a name such as flute"
        )
    known = _by_name() | {family: at * FAMILY_SIZE for at, family in enumerate(FAMILIES)} | _WORDS
    plain = _plain(text)
    if plain in known:
        return known[plain]
    words = set(plain.split())
    holding = [name for name in NAMES if words and words <= set(_plain(name).split())]
    if len(holding) == 1:
        return NAMES.index(holding[0])
    near = holding or difflib.get_close_matches(plain, known, n=3) or difflib.get_close_matches(plain, known, 3, 0.4)
    meant = f"did you mean {_either(near[:4])}? " if near else ""
    raise UsageError(
        f"{name}={arguments.shown(text)}{' fits several instruments' * bool(holding)}: {meant}expected a General MIDI "
        "number, 0..127, or an instrument such as piano, violin, flute or drums"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """The instruments that a model of some music keeps apart: G groups.

    Attributes:
        programs: one program for each group, the group of most notes first.
        index: int16 [129], the group of each program and of DRUMS.
        merged: (program, the one that stands for it) of each program of the music without a group of its own.
    """

    programs: tuple[int, ...]
    index: np.ndarray
    merged: tuple[tuple[int, int], ...]

    def group_of(self, program: int) -> int:
        """The group that a program belongs to, whether or not the music has it."""
        return int(self.index[program])


def groups(programs: np.ndarray, most: int = 16) -> Groups:
    """The groups of the instruments of some music: one each while there are at most `most`.

    Drums always have their own. If there are more instruments, the commonest have a group each, as many as leave room
    for one group per family for the others. If even one per family is too many, the others join a group of their
    family, or else the commonest group. A program that the music lacks belongs to a group by the same rule, with the
    drums only if there is no other group.

    Args:
        programs: the program of each note, int [N], 0..DRUMS; without notes there is one group, piano.
        most: groups, at least 2.

    Raises:
        UsageError: `most` is below 2.
    """
    if most < 2:
        raise UsageError(f"most={most} groups of instruments: expected at least 2, the drums and another")
    counts = np.bincount(np.asarray(programs, np.int64), minlength=DRUMS + 1)
    if not counts.any():
        counts[0] = 1
    stands_for = _stand_ins(counts, most)
    totals = np.zeros_like(counts)
    np.add.at(totals, list(stands_for.values()), counts[list(stands_for)])
    order: list[int] = []
    chosen = tuple(_commonest(totals))
    # Who joins whom depends on who is commonest, and that on who joins: what joins only makes the commonest commoner.
    while tuple(order) != chosen:
        order, index = list(chosen), index_of(chosen)
        sizes = dict(zip(chosen, np.bincount(index, weights=counts, minlength=len(chosen)).tolist(), strict=True))
        chosen = tuple(sorted(chosen, key=lambda program: (-sizes[program], program)))
    others = sorted(set(np.flatnonzero(counts).tolist()) - set(chosen))
    return Groups(chosen, index, tuple((program, chosen[index[program]]) for program in others))


@functools.lru_cache(maxsize=64)  # a model has one tuple, and each of its pieces asks
def index_of(chosen: tuple[int, ...]) -> np.ndarray:
    """Which of the chosen programs, the commonest first, each program and DRUMS belongs to: int16 [129], read-only.

    That is itself, or the commonest of its family, or the commonest of all.
    """
    index = np.array([chosen.index(_nearest(one, chosen)) for one in range(DRUMS + 1)], np.int16)
    index.setflags(write=False)
    return index


def _stand_ins(counts: np.ndarray, most: int) -> dict[int, int]:
    """{program with notes: the program that stands for it}; counts: notes of each program, int64 [129]."""
    melodic = _commonest(counts[:DRUMS])
    drums = {DRUMS: DRUMS} if counts[DRUMS] else {}
    room = most - len(drums)
    for kept in range(min(room, len(melodic)), -1, -1):
        first_of_family: dict[str, int] = {}
        for program in melodic[kept:]:
            first_of_family.setdefault(family_of(program), program)
        if kept + len(first_of_family) <= room:
            others = {program: first_of_family[family_of(program)] for program in melodic[kept:]}
            return {program: program for program in melodic[:kept]} | others | drums
    others = {program: _nearest(program, tuple(melodic[:room])) for program in melodic[room:]}
    return {program: program for program in melodic[:room]} | others | drums


def _commonest(counts: np.ndarray) -> list[int]:
    """The programs that have notes, those of most notes first; of equally many the lowest first."""
    order = np.argsort(-counts, kind="stable")
    return order[: np.count_nonzero(counts)].tolist()


def _nearest(program: int, chosen: tuple[int, ...]) -> int:
    """This program if it is chosen, else the commonest of its family, else the commonest; drums only if all else fails.

    chosen: programs, the commonest first.
    """
    if program in chosen:
        return program
    melodic = [one for one in chosen if one != DRUMS] or list(chosen)
    return next((one for one in melodic if family_of(one) == family_of(program)), melodic[0])


@functools.cache
def _by_name() -> dict[str, int]:
    return {_plain(name): program for program, name in enumerate(NAMES)}


def _plain(text: str) -> str:
    """The words of a text in lower case, without punctuation, one space between them."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _either(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
