"""The Dockerfile, the package, and the guide's lines to build and run agree, as far as that shows without Docker."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from musicjax.cli import flags

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DOCKERFILE = (REPOSITORY / "docker" / "Dockerfile").read_text()
SECTION = (REPOSITORY / "docs" / "guide.md").read_text().split("\n## In a container\n")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```console\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def of_dockerfile(instruction: str) -> str:
    """What follows the one instruction of this name."""
    (found,) = re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)
    return found


def lines_of_the_guide() -> list[tuple[list[str], list[str], list[str]]]:
    """The words of the lines that make the wheels, build and run: for a CPU, and for a GPU."""
    cpu, gpu = ([shlex.split(line) for line in block.splitlines()] for block in BLOCKS)
    return [(cpu[0], cpu[1], cpu[2]), (gpu[0], gpu[1], gpu[2])]


def extras_of(words: list[str]) -> list[str]:
    return [extra for listed in re.findall(r"\[(.*?)\]", " ".join(words)) for extra in listed.split(",")]


def test_the_wheels_are_of_the_python_in_the_base_image_which_the_package_supports():
    image = of_dockerfile("FROM")
    version = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", image)
    assert version and version[1] in SpecifierSet(PROJECT["requires-python"])
    for wheels, _, _ in lines_of_the_guide():
        assert wheels[:6] == [f"python{version[1]}", "-m", "pip", "wheel", "-w", "wheels"]
        assert wheels[6:8] == ["-c", "docker/constraints.txt"]
    assert f" {image} pip wheel -w wheels -c docker/constraints.txt ." in SECTION


def test_the_extras_exist_and_have_wheels():
    for wheels, build, _ in lines_of_the_guide():
        assert extras_of(wheels) == extras_of(build)
        assert set(extras_of(build)) <= set(PROJECT["optional-dependencies"])
    assert of_dockerfile("ARG").startswith("EXTRAS=") and f'"{PROJECT["name"]}${{EXTRAS}}"' in DOCKERFILE


def test_every_package_that_is_installed_has_its_version_which_the_package_supports():
    lines = (REPOSITORY / "docker" / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    needed = [Requirement(one) for one in PROJECT["dependencies"]]
    assert all(one.specifier.contains(pinned[one.name.lower()]) for one in needed)
    assert len(pinned) > len(needed) and "jax-cuda13-plugin" in pinned, "what they need has one too"


def test_the_build_takes_wheels_and_constraints_and_nothing_else():
    assert re.findall(r"source=([^,\s]+)", DOCKERFILE) == ["wheels", "docker/constraints.txt"]
    assert not re.search(r"^(COPY|ADD) ", DOCKERFILE, re.MULTILINE)
    assert (REPOSITORY / ".dockerignore").read_text().split() == ["*", "!wheels", "!docker/constraints.txt"]
    installs = re.findall(r"pip install .*", DOCKERFILE)
    assert installs and all("--no-index" in install and " -c " in install for install in installs)


def test_the_program_starts_in_the_volume_as_a_user_without_rights():
    assert of_dockerfile("WORKDIR") == of_dockerfile("VOLUME")
    assert of_dockerfile("ENV") == f"HOME={of_dockerfile('VOLUME')}"
    assert int(of_dockerfile("USER").split(":")[0]) > 0
    assert json.loads(of_dockerfile("ENTRYPOINT"))[0] in PROJECT["scripts"]


def test_the_guide_runs_the_image_that_it_built_with_flags_that_the_program_takes():
    for _, build, run in lines_of_the_guide():
        image = build[build.index("-t") + 1]
        flags.parse(run[run.index(image) + 1 :])
        assert f"$PWD:{of_dockerfile('VOLUME')}" in run
