"""The source that a config names -> Corpus: downloads it, reads it and reports what became of its files.

Files are read by a pool of processes with a limit of time each, and kept in a cache under the hash of their content.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from musicjax import arguments, console, files
from musicjax.config import DataConfig
from musicjax.corpus import cache as cache_lib
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus import duplicates, ingest
from musicjax.corpus.corpus import Corpus, Outcome
from musicjax.corpus.find import BEGAN, LACKING, WORK, Found, find, holds_shards, lacks_manifest
from musicjax.corpus.split import without_tests
from musicjax.errors import RunError, UsageError
from musicjax.music import COMPOSER_VERSION
from musicjax.music.file_kinds import SUFFIXES

# The console lists this many of the files recovered and of those skipped; the report has them all.
LISTED = 20
# A download says how far it is LINES_A_DOWNLOAD times, or every UNKNOWN_STEP_BYTES where its size is not known.
LINES_A_DOWNLOAD = 25
UNKNOWN_STEP_BYTES = 2**24


def load(data: DataConfig, tests: bool = False) -> tuple[Corpus, list[Outcome]]:
    """`read`, for whoever needs notes; without the pieces in test/ unless `tests`, and without copies that are dropped.

    Raises:
        UsageError, RunError: as `read`; or no file gave notes.
    """
    corpus, outcomes = read(data, " (musicjax data lists why)")
    require_notes(corpus, outcomes, data.source)
    corpus = duplicates.settled(corpus, data, not tests)
    if tests:
        if any(name.lower().startswith("test/") for name in corpus.names):
            console.say("split", f"also uses the pieces outside test/; for test/ alone, use --data={data.source}/test")
        return corpus, outcomes
    kept = without_tests(corpus)
    if len(kept) < len(corpus):
        console.say("split", f"leaves out test/, {len(corpus) - len(kept)} of {console.counted(len(corpus), 'piece')}")
    return kept, outcomes


def read(data: DataConfig, hint: str = "") -> tuple[Corpus, list[Outcome]]:
    """Reads the source, downloads it first if need be, shows progress and says what became of the files.

    Args:
        data: source, cache, workers, seconds_per_file, percussion, sustain and tracks are used.
        hint: what to say after the counts, if some files were not simply kept.

    Returns:
        The corpus of all files that gave notes (perhaps none), and an Outcome for each file found, by path.

    Raises:
        UsageError: a data set and no cache to download it to.
        RunError: no such source, no file of music in it, no way to download it, or a cache that cannot be used.
    """
    if holds_shards(data.source):
        raise UsageError(
            f"data source {data.source}: a folder of shards, which contain note events; expected music files, or a "
            "note-event config, such as --config=demo or --config=events"
        )
    cache = cache_lib.cache_folder(data)
    with source(data.source, cache) as (folder, paths):
        found = find(folder) if paths is None else Found(paths, [])
        say_left_out(found.runs)
        root = folder if folder.is_dir() else folder.parent
        with console.bar("reading", 0) as update:
            update(0, total=len(found.paths))
            corpus, outcomes = corpus_lib.of_files(ingest.read(root, found, cache, data, update))
    _say(data.source, outcomes, hint)
    return corpus, outcomes


def require_notes(corpus: Corpus, outcomes: list[Outcome], source: str) -> None:
    """Raises RunError if no file gave notes."""
    if not len(corpus):
        first = outcomes[0]
        raise RunError(
            f"data source {source}: none of its {console.counted(len(outcomes), 'file')} gave notes ({first.path}: "
            f"{first.detail}); expected MIDI or MusicXML files with notes; name another folder"
        )


@contextlib.contextmanager
def source(name: str, cache: Path | None) -> Iterator[tuple[Path, list[Path] | None]]:
    """The folder (or the file) that a source names, and which files of it count (None: all that are music).

    Downloads or composes it if need be; raises as `read`.
    """
    if name != "builtin":
        yield _named(name, cache)
        return
    if cache is not None:
        try:
            folder = _compose(cache / f"builtin-v{COMPOSER_VERSION}")
        except OSError as error:
            cache_lib.say_full(cache, error)
        else:
            yield folder, None
            return
    with tempfile.TemporaryDirectory() as temporary:
        yield _compose(Path(temporary, name)), None


def say_left_out(runs: Sequence[Path]) -> None:
    """Says which runs of musicjax in a source are left out."""
    if runs:
        others = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        console.say(
            "left out",
            f"{runs[0]}{others}: made by musicjax; no model should learn from its own music",
        )


def _named(source: str, cache: Path | None) -> tuple[Path, list[Path] | None]:
    """`source` for a data set, a folder or a file."""
    from musicjax.corpus import datasets  # not needed for the built-in corpus

    folder = Path(arguments.expanded(source))  # a user that nobody knows stays ~name: no such folder
    if source in datasets.NAMES and not folder.is_dir():
        if datasets.is_missing(source, cache):
            _download(source, cache)
        return datasets.find(source, cache)
    if not folder.is_dir() and not folder.is_file():
        raise RunError(
            f"data source {source}: no such folder; expected builtin, a data set ({', '.join(datasets.NAMES)}) or a "
            f"folder with {' '.join(SUFFIXES)} files, or one such file"
        )
    if (folder / WORK / BEGAN).is_file():
        raise RunError(
            f"data source {source}: shards that are not finished; expected a whole folder of them; to continue, run "
            f"again the command that began them, musicjax data --data=... --output={source}"
        )
    if lacks_manifest(folder):
        raise RunError(f"data source {source}: {LACKING}")
    if source in datasets.NAMES:
        console.say("data", f"{source}: reads the folder {folder.absolute()}, not the data set of that name")
    return folder, None


def _compose(folder: Path) -> Path:
    """The folder of the built-in corpus, composed if it is not there; raises OSError if it cannot be written."""
    if folder.is_dir():
        return folder
    from musicjax.music import builtin_clips  # not needed if the folder is there

    try:
        with files.whole(folder) as partial:
            partial.mkdir()
            builtin_clips.write_corpus(partial)
    except OSError:
        if not folder.is_dir():  # else another start was first
            raise
    return folder


def _download(name: str, cache: Path | None) -> None:
    from musicjax.corpus import datasets

    next_at = 0
    with console.bar("download") as update:

        def progress(done: int, total: int) -> None:
            nonlocal next_at
            if done >= next_at:
                update(done >> 20, "MiB", total >> 20)
                next_at = done + (total // LINES_A_DOWNLOAD or UNKNOWN_STEP_BYTES)

        datasets.fetch(name, cache, progress, console.say)


def _say(source: str, outcomes: list[Outcome], hint: str) -> None:
    """One line that counts the files, and some lines of files that were not simply kept."""
    counts = corpus_lib.counts(outcomes)
    odd, notes = counts["recovered"] + counts["skipped"], console.counted(counts["notes"], "note")
    console.say(
        "data",
        f"{source}: kept {counts['kept']} of {console.counted(len(outcomes), 'file')}, recovered "
        f"{counts['recovered']}, skipped {counts['skipped']}{hint if odd else ''}; {notes}",
    )
    for status in ("recovered", "skipped"):
        some = [outcome for outcome in outcomes if outcome.status == status]
        for outcome in some[:LISTED]:
            console.say("file", f"{status} {outcome.path}: {outcome.detail}")
        if len(some) > LISTED:
            console.say("file", f"{status} {len(some) - LISTED} more")
