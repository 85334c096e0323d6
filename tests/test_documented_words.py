"""The flags, fields and commands that README and docs/ name are ones that the programs take."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from musicjax import config
from musicjax.cli import flags, help
from tests.test_readme import DOCUMENTS

KNOWN = {*flags.FLAGS, *flags.ALIASES, "config", *(f"config.{path}" for path in config.paths())}
KNOWN |= {word.lstrip("-").split("=")[0] for word in (*help.WORDS, flags.VERSION)}
OF_OTHER_PROGRAMS = {"save", "quick", "samples_per_plugin", "user"}
SUFFIXES = {"js", "json", "jsonl", "onnx", "safetensors"}  # of files, whose names look like fields


def blocks(document: Path) -> list[str]:
    """The lines of all blocks of code."""
    found = re.findall(r"^```\w*\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def spans(document: Path) -> list[str]:
    """The code inside of sentences, each as one line."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_flag_and_field_in_a_sentence_is_there(document):
    for span in spans(document):
        if span.startswith("--"):
            for name in re.findall(r"(?:^| )--([\w.]+)", span):
                assert name in KNOWN | OF_OTHER_PROGRAMS, span
        field = re.match(r"(?:config\.)?((?:data|model|train|sample)\.([a-z_]+))(?:=|$)", span)
        if field and field[2] not in SUFFIXES:
            config.require_field(field[1])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_sentence_is_one_that_the_program_takes(document):
    for span in spans(document):
        words = shlex.split(span)
        if words[0] == "musicjax" and "COMMAND" not in words:
            flags.parse([word for word in words[1:] if word not in help.WORDS])


class Taken(Exception):
    """A program has taken its arguments."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_benchmark_takes_the_arguments_that_a_document_gives_it(document, tmp_path, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_alone(parser):
        parse(parser)
        raise Taken

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_alone)
    for name in ("train-here.json", "train-there.json"):
        (tmp_path / name).write_text('{"benchmark": "train", "machine": {}}')
    monkeypatch.chdir(tmp_path)
    for text in (*blocks(document), *spans(document)):
        if text.startswith("python -m benchmarks."):
            module, *words = shlex.split(text.split(" | ")[0])[2:]
            monkeypatch.setattr(sys, "argv", [module, *words])
            with pytest.raises(Taken):
                importlib.import_module(module).main()
