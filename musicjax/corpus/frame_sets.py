"""The four data sets of polyphonic music on which the literature compares frame models, as MATLAB files.

Boulanger-Lewandowski, Bengio, Vincent, "Modeling Temporal Dependencies in High-Dimensional Sequences"
(ICML 2012): JSB Chorales, Nottingham, MuseData and Piano-midi.de with their authors' splits. Each file holds
the cell arrays traindata, validdata and testdata; a cell is a piece, [frames, 88] zeros and ones.

Shape legend: N frames of all pieces, P pieces.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import io
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

from musicjax import arguments
from musicjax.corpus.corpus import Outcome
from musicjax.errors import RunError, UsageError
from musicjax.music.piano_roll import KEYS, held_notes

NAMES = {
    "jsb": "JSB_Chorales.mat",
    "nottingham": "Nottingham.mat",
    "musedata": "MuseData.mat",
    "piano_midi": "Piano_midi.mat",
}
# Frames in a quarter note. JSB has one for each; for the others, the number follows from where their notes begin.
PER_BEAT = {"jsb": 1, "nottingham": 2, "musedata": 2, "piano_midi": 2}
SPLITS = ("train", "valid", "test")
VARIABLES = tuple(f"{split}data" for split in SPLITS)
FEWEST_FRAMES = 2  # the first is only seen, each later one is predicted from those before it
# The largest set has 1,037. A size that comes from damage is refused before scipy makes room for it.
MOST_PIECES = 100_000
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5_OFFSETS = (0, 512)  # MATLAB 7.3 puts a text of its own before it


@dataclasses.dataclass(frozen=True, eq=False)
class Polyphonic:
    """The pieces of all splits, end to end; piece p is frames[offsets[p]:offsets[p + 1]].

    Attributes:
        frames: uint8 [N, 88], zeros and ones, from A0 to C8.
        offsets: int64 [P + 1].
        split: int8 [P], index into SPLITS.
        names: P names such as "train/012", the twelfth cell of traindata.
        skipped: an Outcome for each piece left out.
        fingerprint: sha256 over frames, offsets and split.
    """

    frames: np.ndarray
    offsets: np.ndarray
    split: np.ndarray
    names: tuple[str, ...]
    skipped: list[Outcome]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    def piece(self, index: int) -> np.ndarray:
        """The frames of one piece, uint8 [frames, 88]."""
        return self.frames[self.offsets[index] : self.offsets[index + 1]]

    def pieces(self, split: str) -> list[np.ndarray]:
        """The pieces of one split, each uint8 [frames, 88]."""
        return [self.piece(index) for index in np.flatnonzero(self.split == SPLITS.index(split)).tolist()]

    @property
    def outcomes(self) -> list[Outcome]:
        """An Outcome for each piece of the file, in its order; counts held notes, and has no seconds."""
        kept = [
            _outcome(name, self.piece(index), "kept", "kept", "", held_notes(self.piece(index)))
            for index, name in enumerate(self.names)
        ]
        return sorted([*kept, *self.skipped], key=lambda outcome: _position(outcome.path))


def parse(source: str) -> tuple[str, Path] | None:
    """The name and the folder of `polyphonic:NAME:DIR`; None for a source of another kind.

    Raises:
        UsageError: there is no such data set, or no folder is named.
    """
    if not source.startswith("polyphonic:"):
        return None
    name, _, folder = source.removeprefix("polyphonic:").partition(":")
    if name not in NAMES:
        near = difflib.get_close_matches(name.lower(), NAMES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"data source {source}: no polyphonic data set is called {name!r}; {hint}"
            f"expected polyphonic:NAME:DIR with one of {', '.join(NAMES)}"
        )
    if not folder:
        raise UsageError(
            f"data source {source}: no folder; expected polyphonic:{name}:DIR with the folder that holds {NAMES[name]}"
        )
    return name, Path(arguments.expanded(folder))  # as it is where nobody knows the user


def read(source: str) -> Polyphonic:
    """Reads the data set that `polyphonic:NAME:DIR` names; leaves out pieces with nothing to predict.

    Raises:
        UsageError: the source has another form.
        RunError: there is no such file, or it is not the data set's.
    """
    parsed = parse(source)
    if parsed is None:
        raise UsageError(f"data source {source}: not a polyphonic data set; expected polyphonic:NAME:DIR")
    path = _find(source, *parsed)
    splits = _load(path)
    kept: list[np.ndarray] = []
    names: list[str] = []
    split: list[int] = []
    skipped: list[Outcome] = []
    for part, pieces in enumerate(splits):
        for number, piece in enumerate(pieces, start=1):
            name = _name(SPLITS[part], number)
            if len(piece) < FEWEST_FRAMES:
                skipped.append(_skipped(name, piece))
                continue
            kept.append(piece)
            names.append(name)
            split.append(part)
        if part not in split:
            raise _wrong(path, f"{VARIABLES[part]} has no piece of {FEWEST_FRAMES} or more frames")
    frames = np.concatenate(kept)
    offsets = np.cumsum([0, *map(len, kept)], dtype=np.int64)
    parts = np.array(split, np.int8)
    return Polyphonic(frames, offsets, parts, tuple(names), skipped, _fingerprint(frames, offsets, parts))


def _find(source: str, name: str, folder: Path) -> Path:
    path = folder / NAMES[name]
    if not folder.is_dir():
        raise RunError(f"data source {source}: no such folder; expected one with {path.name}; name the folder it is in")
    if not path.is_file():
        raise RunError(
            f"data source {source}: no file {path.name} in it; expected the data set's own file; "
            "put it there or name the folder it is in"
        )
    return path


def _wrong(path: Path, what: str) -> RunError:
    return RunError(
        f"{path}: {what}; expected the cell arrays {', '.join(VARIABLES)}, "
        f"a cell for each piece, [frames, {KEYS}] zeros and ones; put the data set's own file there"
    )


def _load(path: Path) -> list[list[np.ndarray]]:
    """The pieces of each split, uint8 [frames, 88] each, by a process of its own (see `decode`)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}; fix that and start again") from error
    if any(content.startswith(HDF5_SIGNATURE, offset) for offset in HDF5_OFFSETS):
        raise RunError(
            f"{path}: a file of MATLAB 7.3 (HDF5); expected one of version 7.2 or older; "
            "put the data set's own file there, or save this one again with MATLAB's save -v7"
        )
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-m", "musicjax.corpus.frame_sets"],
            input=content,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
        )
    except OSError as error:
        raise RunError(
            f"the process that reads {path} could not be started: {error}; expected room for one more; "
            "close other programs"
        ) from error
    if process.returncode:
        last = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise _wrong(path, f"damaged: its reader ended with status {process.returncode} {' '.join(last)}".rstrip())
    head, _, body = process.stdout.partition(b"\n")
    reply = json.loads(head)
    if "wrong" in reply:
        raise _wrong(path, reply["wrong"])
    flat = np.frombuffer(body, np.uint8).reshape(-1, KEYS)
    lengths = reply["lengths"]
    pieces = iter(np.split(flat, np.cumsum([length for split in lengths for length in split])))
    return [[next(pieces) for _ in split] for split in lengths]


def decode(content: bytes) -> list[list[np.ndarray]]:
    """The pieces of each split from the bytes of a MATLAB file, uint8 [frames, 88] each.

    May end the process that runs it: one changed bit can lead scipy to memory that is not its own.

    Raises:
        ValueError: the file is not the data set's; says what is wrong.
    """
    from scipy.io import loadmat, whosmat  # a slow import; only where such a file is read

    try:
        with warnings.catch_warnings():
            # If scipy warns that it read only a part, the file counts as damaged.
            warnings.filterwarnings("error", "Unreadable variable|Duplicate variable")
            kinds = {name: (shape, kind) for name, shape, kind in whosmat(io.BytesIO(content))}
            wrong = next(filter(None, (_unlike_cells(name, *kinds.get(name, ((), ""))) for name in VARIABLES)), None)
            loaded = {} if wrong else loadmat(io.BytesIO(content), variable_names=VARIABLES)
    except Exception as error:  # scipy raises many kinds for bytes that are not a MATLAB file
        raise ValueError(f"not a MATLAB file, or a damaged one ({type(error).__name__}: {error})") from error
    if wrong:
        raise ValueError(wrong)
    return [
        [_piece(_name(split, number), cell) for number, cell in enumerate(loaded[name].ravel(order="F"), start=1)]
        for split, name in zip(SPLITS, VARIABLES, strict=True)
    ]


def _name(split: str, number: int) -> str:
    return f"{split}/{number:03d}"


def _unlike_cells(name: str, shape: tuple[int, ...], kind: str) -> str:
    """Why a variable cannot hold pieces; empty if it can."""
    if not kind:
        return f"no variable {name}"
    if kind != "cell":
        return f"variable {name} is not a cell array but {kind}"
    pieces = math.prod(shape)
    return "" if 0 <= pieces <= MOST_PIECES else f"variable {name} claims {pieces:,} pieces"


def _piece(name: str, cell: object) -> np.ndarray:
    """One cell as uint8 [frames, 88]."""
    if not isinstance(cell, np.ndarray) or cell.dtype.kind not in "biuf":
        raise ValueError(f"piece {name} is not an array of numbers")
    if cell.size == 0:
        return np.zeros((0, KEYS), np.uint8)
    if cell.ndim != 2 or cell.shape[1] != KEYS:
        raise ValueError(f"piece {name} has shape {list(cell.shape)}")
    if not ((cell == 0) | (cell == 1)).all():
        raise ValueError(f"piece {name} holds values other than 0 and 1")
    return np.ascontiguousarray(cell, np.uint8)


def _skipped(name: str, piece: np.ndarray) -> Outcome:
    if len(piece) == 0:
        return _outcome(name, piece, "skipped", "empty", "no frames", 0)
    return _outcome(name, piece, "skipped", "one-frame", "one frame, and nothing to predict from it", 0)


def _outcome(name: str, piece: np.ndarray, status: str, code: str, detail: str, notes: int) -> Outcome:
    return Outcome(name, status, code, detail, notes, 0.0, hashlib.sha256(piece.tobytes()).hexdigest())


def _position(name: str) -> tuple[int, int]:
    split_name, number = name.split("/")
    return SPLITS.index(split_name), int(number)


def _fingerprint(frames: np.ndarray, offsets: np.ndarray, split: np.ndarray) -> str:
    digest = hashlib.sha256(frames.tobytes())
    digest.update(offsets.astype("<i8").tobytes())
    digest.update(split.tobytes())
    return digest.hexdigest()


def main() -> None:
    """Bytes of a MATLAB file on standard input; a line of JSON and the frames of all pieces on standard output."""
    replies, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing a library prints may mix with the reply
    reply: dict[str, object]
    try:
        splits = decode(sys.stdin.buffer.read())
        reply = {"lengths": [list(map(len, pieces)) for pieces in splits]}
    except ValueError as error:
        splits, reply = [], {"wrong": str(error)}
    replies.write(json.dumps(reply).encode() + b"\n")
    for pieces in splits:
        replies.writelines(piece.tobytes() for piece in pieces)
    replies.flush()


if __name__ == "__main__":
    main()
