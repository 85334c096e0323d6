"""How a config is built: fields, sections, and the part of a section that only one encoding has."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Iterator
from typing import Any, TypeVar

from musicjax import console, renamed
from musicjax.errors import UsageError

T = TypeVar("T", bound="Section")
# 0.1.0 had a field for the head of every encoding; of those that leave no choice, this is it.
HEAD, ONLY_HEAD = "model.head", {"notes": "regression", "events": "categorical", "frames": None}


def knob(default, meaning: str, *, low=None, high=None, choices: tuple = (), may_change: bool = False):
    """A config field: default, meaning with unit, inclusive range or choices.

    `may_change` marks a field that may change when a run continues.
    """
    rules = {"meaning": meaning, "low": low, "high": high, "choices": choices, "may_change": may_change}
    return dataclasses.field(default=default, metadata=rules)


class Section:
    """A section whose own part's fields can be read and set as if they stood in the section.

    A field that only other encodings have waits until the encoding is settled, so that fields can be assigned in any
    order. Names of 0.1.0 work too, with one line that gives the present name.
    """

    NAME = ""
    PARTS: dict[str, type] = {}  # noqa: RUF012 - of each encoding, the class of `own`
    own: Any

    def __post_init__(self) -> None:
        self.own = copy.copy(self.own)  # no two sections share a part

    def __getattr__(self, name: str) -> Any:
        present = present_path(f"{self.NAME}.{name}").split(".")[1]
        for holder in (self.__dict__.get("own"), self.__dict__.get("_waiting")):
            values = holder if isinstance(holder, dict) else vars(holder) if holder is not None else {}
            if present in values:
                return values[present]
        raise AttributeError(f"config.{self.NAME} has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).__dataclass_fields__ or name.startswith("_"):  # type: ignore[attr-defined]
            object.__setattr__(self, name, value)
            return
        present = present_path(f"{self.NAME}.{name}", say=True).split(".")[1]
        if self.own is not None and present in vars(self.own):
            setattr(self.own, present, value)
        elif self.encodings_with(present) or f"{self.NAME}.{present}" == HEAD:
            self.__dict__.setdefault("_waiting", {})[present] = value
        else:
            raise UsageError(f"unknown field config.{self.NAME}.{name}")

    def encodings_with(self, name: str) -> list[str]:
        """The encodings whose part has a field of this name."""
        return [encoding for encoding, part in self.PARTS.items() if name in field_names(part)]

    def settle(self, encoding: str) -> None:
        """Gives the section the part of this encoding and sets the fields that waited for it.

        Raises:
            UsageError: a field that waited belongs to other encodings and has not its default, which 0.1.0 allowed.
        """
        if type(self.own) is not self.PARTS[encoding]:
            self.own = self.PARTS[encoding]()
        for name, value in self.__dict__.pop("_waiting", {}).items():
            if name in vars(self.own):
                setattr(self.own, name, value)
            elif value not in [self.PARTS[other]().__dict__[name] for other in self.encodings_with(name)]:
                self.require_own(name, value, encoding)

    def require_own(self, name: str, value: Any, encoding: str) -> None:
        """Raises UsageError, which names the encodings that have it, if this encoding's part lacks a field."""
        path, others = f"{self.NAME}.{name}", self.encodings_with(name)
        if (
            name not in field_names(type(self))
            and encoding not in others
            and (path, value) != (HEAD, ONLY_HEAD[encoding])
        ):
            raise UsageError(
                f"config.{path}={value!r}: {encoding} have no such field, {' and '.join(others)} do; leave it out, or "
                f"choose --config.data.encoding={' or '.join(others)}"
            )


def field_names(part: Any) -> Collection[str]:
    """The names of the fields of a dataclass."""
    return part.__dataclass_fields__


def takes_own_fields(section: type[T]) -> type[T]:
    """Lets a section's constructor take the fields of its own part as keywords, as that of 0.1.0 did.

    An encoding that is named decides which part there is; else the part does.
    """
    init, names = section.__init__, field_names(section)

    def with_own_fields(self: Any, **named: Any) -> None:
        waiting = {name: named.pop(name) for name in list(named) if name not in names}
        own = named.get("own")
        if own is not None:
            encodings = [encoding for encoding, part in section.PARTS.items() if part is type(own)]
            if not encodings:
                raise UsageError(f"config.{section.NAME}.own={own!r}: expected the part of an encoding")
            if "encoding" in names and named.setdefault("encoding", encodings[0]) not in encodings:
                del named["own"]
        init(self, **named)
        for name, value in waiting.items():
            setattr(self, name, value)

    section.__init__ = with_own_fields  # type: ignore[method-assign]
    return section


def fields_of(owner: Any, prefix: str) -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """(path, declaration, value) of every field below a prefix; those of an own part have their section's path."""
    for field in dataclasses.fields(owner):
        value = getattr(owner, field.name)
        if field.name == "own":
            yield from fields_of(value, prefix) if value is not None else ()
        elif dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field, value


def valid(path: str, field: dataclasses.Field, value: Any) -> Any:
    """The value in its field's type.

    Raises:
        UsageError: names the field, the value and what is allowed.
    """
    rules: Any = field.metadata
    wanted: type = type(field.default)
    if wanted is float and type(value) is int:
        value = float(value)
    if wanted is tuple and isinstance(value, list | tuple):  # a list, as JSON has it
        value = tuple(float(item) if type(item) in (int, float) else item for item in value)
        if not all(type(item) is float and rules["low"] <= item <= rules["high"] for item in value):
            raise UsageError(
                f"config.{path}={value!r}: expected numbers in {rules['low']}..{rules['high']} ({rules['meaning']})"
            )
    if type(value) is not wanted:
        raise UsageError(f"config.{path}={value!r} is not of type {wanted.__name__}: {rules['meaning']}")
    if rules["choices"] and value not in rules["choices"]:
        raise UsageError(f"config.{path}={value!r}: expected one of {', '.join(rules['choices'])}")
    if wanted in (int, float) and not (rules["low"] <= value <= rules["high"]):
        raise UsageError(f"config.{path}={value!r}: expected {rules['low']}..{rules['high']} ({rules['meaning']})")
    if wanted is str and field.default and not value:
        raise UsageError(f"config.{path} is empty: expected {rules['meaning']}")
    return value


def present_path(path: str, say: bool = False) -> str:
    """The present path of a field that 0.1.0 called something else; any other path as it is."""
    present = renamed.FIELDS.get(path, path)
    if say and present != path:
        console.say_once("renamed", f"config.{path} is now config.{present}")
    return present
