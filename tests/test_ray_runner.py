"""Tasks on a Ray cluster: each gives its result once, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
import sys
import time
import types
from pathlib import Path

import pytest

from musicjax.errors import RunError, UsageError
from musicjax.shards import ray_runner
from musicjax.version import __version__

# Ray leaves sockets to the garbage collector, announces its next version, and forks where earlier tests imported JAX.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
]


def doubled(number: int) -> int:
    return 2 * number


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UsageError,
        match=r"^--runner=ray needs the package ray: expected it to be installed; pip install 'musicjax\[large,ray\]'$",
    ):
        next(ray_runner.results(doubled, [1], 1))


def test_a_machine_with_another_musicjax_or_none_calls_nothing(monkeypatch):
    fetched = []
    call = ray_runner._call_anywhere(types.SimpleNamespace(get=lambda held: fetched.append(held) or doubled))
    assert call(["held"], __version__, 21)[1:] == (__version__, 42)
    assert call(["held"], "0.0.1", 21)[1:] == (__version__, None)
    monkeypatch.setitem(sys.modules, "musicjax.version", None)
    assert call(["held"], __version__, 21)[1:] == ("", None)
    assert fetched == ["held"]


# On a cluster. Functions have names by which its processes find them.


@pytest.fixture(scope="module")
def head():
    """A cluster of one node with one core, whose processes find what this one finds."""
    pytest.importorskip("ray", reason="Ray is not installed; it is an extra of its own")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield made
        made.shutdown()


@pytest.fixture
def cluster(head, monkeypatch):
    """The same, named by RAY_ADDRESS."""
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    return head


def slow(task: tuple[int, str]) -> tuple[str, bytes]:
    """The node that ran it, and what is too large to travel with the answer; slow until the task's file is there."""
    import ray

    number, hurry = task
    if not Path(hurry).exists():
        time.sleep(0.3)
    return ray.get_runtime_context().get_node_id(), bytes([number]) * 200_000


@pytest.mark.long
def test_a_node_that_is_killed_costs_no_result_and_doubles_none(cluster, tmp_path):
    """The second node is killed once both have worked, which takes it a while on a busy machine."""
    killed, found, nodes, before = tmp_path / "killed", {}, [], None
    second = cluster.add_node(num_cpus=1)
    for index, (node, content) in ray_runner.results(slow, [(number, str(killed)) for number in range(120)], 0):
        assert index not in found
        found[index] = content
        nodes.append(node)
        if before is None and len(set(nodes)) == 2:
            cluster.remove_node(second, allow_graceful=False)
            before = len(nodes)
            killed.touch()
    assert before is not None, "one node did all"
    assert found == {number: bytes([number]) * 200_000 for number in range(120)}
    assert len(set(nodes[before + 2 :])) == 1  # two may have been done when it was killed


def dies(path: str) -> int:
    """How often it was called with this file, of which the first three times end its process."""
    with open(path, "a") as stream:
        stream.write(".")
    if (calls := Path(path).stat().st_size) <= 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return calls


def raises(path: str) -> None:
    with open(path, "a") as stream:
        stream.write(".")
    raise LookupError("its own words")


def always_dies(number: int) -> None:
    if number:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.long
def test_what_is_lost_runs_again_three_times_and_what_raises_never(cluster, tmp_path):
    (tmp_path / "again").touch()
    assert list(ray_runner.results(dies, [str(tmp_path / "again")], 1)) == [(0, 4)]
    with pytest.raises(LookupError, match=r"^its own words$"):
        list(ray_runner.results(raises, [str(tmp_path / "raised")], 1))
    assert (tmp_path / "raised").read_text() == "."
    with pytest.raises(RunError, match=r"^task 1 was lost 4 times with its process; "):
        list(ray_runner.results(always_dies, [0, 1], 1))


@pytest.mark.long
def test_a_cluster_that_has_another_musicjax_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(ray_runner, "__version__", "99")
    with pytest.raises(
        RunError, match=rf"has musicjax {__version__}: expected 99; run pip install 'musicjax\[large,ray\]==99'"
    ):
        list(ray_runner.results(doubled, [1], 1))


@pytest.mark.long
def test_without_an_address_a_cluster_starts_here_and_ends_with_the_last_result(monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed; it is an extra of its own")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # restored after the test
    handler = signal.getsignal(signal.SIGTERM)
    running = ray_runner.results(doubled, range(50), 2)
    first = next(running)
    assert ray.is_initialized() and signal.getsignal(signal.SIGTERM) == handler
    assert dict([first, *running]) == {number: 2 * number for number in range(50)}
    assert not ray.is_initialized()


@pytest.mark.long
def test_an_address_where_no_cluster_is_is_refused_at_once(monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed; it is an extra of its own")
    for address, told in {"127.0.0.1:1": "Connection refused", "nonsense": "Invalid address"}.items():
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RunError, match=f"^RAY_ADDRESS={address}: no Ray cluster can be used: .*{told}"):
            next(ray_runner.results(doubled, [1], 1))
