"""What several tests need: music, one trained workdir for each encoding, and one cache of compiled programs."""

import fcntl
import importlib.metadata
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicjax.music import builtin_clips
from musicjax.run import signals

REPOSITORY = Path(__file__).parents[1]
# The files that take longest, the longest first.
LONGEST = (
    "test_readme",
    "test_studio_server",
    "test_search",
    "test_end_to_end",
    "test_shard_training",
    "test_write_shards",
    "test_player",
    "test_studio_page",
    "test_typing",
    "test_frames_runs",
    "test_trials",
    "test_infill",
    "test_generate",
    "test_resume",
    "test_rnn",
    "test_bad_input",
    "test_warm_start",
    "test_lstm",
    "test_sample",
    "test_step",
    "test_sharded_parameters",
    "test_meter",
    "test_studio_routes",
    "test_network",
    "test_events_model",
    "test_event_draw",
    "test_recorder",
    "test_renamed",
    "test_reliability",
    "test_page",
)
COMPILED_FAST = "--xla_backend_optimization_level=0"
# XLA ends the process at a flag that it does not know, and later versions do not know this one.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    COMPILED_FAST += " --xla_cpu_use_fusion_emitters=false"


def pytest_configure(config: pytest.Config) -> None:
    """All processes of a session share the programs that any of them compiles, and compile them fast.

    Most of the time of these tests goes into compiling. Compiled as for users, it takes three times as long: set
    XLA_FLAGS=--xla_backend_optimization_level=3 for that, as .ci/full does for the long tests.
    """
    if not hasattr(config, "workerinput"):  # the processes that tests are spread over inherit it
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a hundred processes would compile the same modules
        os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="programs")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ.setdefault("XLA_FLAGS", COMPILED_FAST)
    # One process may read a program that another is about to write; then it compiles it.
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that the processes end together."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes the compiled programs."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository (or named by MUSICJAX_SHARED_DATA); skips without it."""
    folder = Path(os.environ.get("MUSICJAX_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent; name its place with MUSICJAX_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def clips(shared_by_workers: Path) -> Path:
    """A folder with 12 composed MIDI files."""
    return _made_once(shared_by_workers / "clips", lambda folder: builtin_clips.write_corpus(folder, seed=3, clips=12))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test and no fixture reads or writes the user's cache; the tests of one process share one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session")
def shared_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def _made_once(folder: Path, make) -> Path:
    """The folder, which the first process that asks for it fills with make(folder) while the others wait."""
    with folder.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        finished = folder.with_suffix(".finished")
        if not finished.exists():
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


def _trained(encoding: str, clips: Path, shared_by_workers: Path) -> Path:
    from tests import tiny_runs  # here, because most tests need no JAX

    def train(folder: Path) -> None:
        import musicjax

        musicjax.train(tiny_runs.config_of(clips, encoding), folder)

    return _made_once(shared_by_workers / encoding, train)


@pytest.fixture(scope="session")
def trained_notes(clips: Path, shared_by_workers: Path) -> Path:
    """The workdir of the tiny run of notes; a test that changes it takes a copy."""
    return _trained("notes", clips, shared_by_workers)


@pytest.fixture(scope="session")
def trained_frames(clips: Path, shared_by_workers: Path) -> Path:
    """The workdir of the tiny run of frames with onsets and the longest match; a test that changes it takes a copy."""
    return _trained("frames", clips, shared_by_workers)


@pytest.fixture(scope="session")
def trained_events(clips: Path, shared_by_workers: Path) -> Path:
    """The workdir of the tiny run of note events; a test that changes it takes a copy."""
    return _trained("events", clips, shared_by_workers)


@pytest.fixture
def own_signal_handlers() -> Iterator[None]:
    """A command sets handlers for the whole process; the tests that follow get theirs back."""
    before = {number: signal.getsignal(number) for number in signals.NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def keras(tmp_path_factory: pytest.TempPathFactory):
    """Keras on JAX, the oracle of the paper's model; its settings stay out of the user's home."""
    os.environ["KERAS_HOME"] = str(tmp_path_factory.mktemp("keras"))
    os.environ["KERAS_BACKEND"] = "jax"
    library = pytest.importorskip("keras")
    assert library.backend.backend() == "jax"
    return library
