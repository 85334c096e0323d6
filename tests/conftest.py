"""What several tests need: a small corpus on disk, and the folder of real data where there is one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicjax.music import composer

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository (or named by MUSICJAX_SHARED_DATA); skips without it."""
    folder = Path(os.environ.get("MUSICJAX_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent; name its place with MUSICJAX_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 composed MIDI files."""
    folder = tmp_path_factory.mktemp("clips")
    composer.write_corpus(folder, seed=3, clips=12)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test and no fixture reads or writes the user's cache; the tests of one process share one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session")
def keras(tmp_path_factory: pytest.TempPathFactory):
    """Keras on JAX, the oracle of the paper's model; its settings stay out of the user's home."""
    os.environ["KERAS_HOME"] = str(tmp_path_factory.mktemp("keras"))
    os.environ["KERAS_BACKEND"] = "jax"
    library = pytest.importorskip("keras")
    assert library.backend.backend() == "jax"
    return library
