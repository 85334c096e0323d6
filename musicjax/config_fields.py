"""How a config is built: fields, sections, and the part of a section that only one encoding has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

from musicjax import console, renamed
from musicjax.errors import UsageError

T = TypeVar("T", bound="Section")
# The head of an encoding that leaves no choice; 0.1.0 had a field for it.
ONLY_HEAD = {"notes": "regression", "events": "categorical"}


def knob(default, meaning: str, *, low=None, high=None, choices: tuple = (), may_change: bool = False):
    """A config field: default, meaning with unit, inclusive range or choices.

    `may_change` marks a field that may change when a run continues.
    """
    rules = {"meaning": meaning, "low": low, "high": high, "choices": choices, "may_change": may_change}
    return dataclasses.field(default=default, metadata=rules)


class Section:
    """A section whose own part's fields can be read and set as if they stood in the section.

    Names of 0.1.0 work too, with one line that gives the present name.
    """

    NAME = ""
    PARTS: dict[str, type] = {}  # noqa: RUF012 - of each encoding, the class of `own`
    own: Any

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__.get("own")
        present = present_path(f"{self.NAME}.{name}").split(".")[1]
        if own is None or present not in vars(own):
            raise AttributeError(f"config.{self.NAME} has no field {name!r}")
        return getattr(own, present)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).__dataclass_fields__ or name.startswith("_"):  # type: ignore[attr-defined]
            object.__setattr__(self, name, value)
        elif self.own is None:  # the encoding is not known before there is a whole Config
            self.__dict__.setdefault("_waiting", {})[name] = value
        else:
            self._set_own(name, value)

    def _set_own(self, name: str, value: Any) -> None:
        path, parts = f"{self.NAME}.{name}", self.PARTS
        present = present_path(path, say=True).split(".")[1]
        these = [encoding for encoding in parts if type(self.own) is parts[encoding]]
        others = [other for other in parts if present in parts[other].__dataclass_fields__]  # type: ignore[attr-defined]
        if present in vars(self.own):
            setattr(self.own, present, value)
        elif path == "model.head" and value == ONLY_HEAD.get(these[0]):
            return  # 0.1.0 had the field for every encoding
        elif others or path == "model.head":
            raise UsageError(
                f"config.{path}={value!r}: {' and '.join(these)} have no such field, {' and '.join(others)} do; leave "
                f"it out, or choose --config.data.encoding={' or '.join(others)}"
            )
        else:
            raise UsageError(f"unknown field config.{path}")

    def settle(self, encoding: str) -> None:
        """Gives the section its own part if it has none yet, and sets the fields that waited for one."""
        if self.own is None:
            self.own = self.PARTS[encoding]()
        for name, value in self.__dict__.pop("_waiting", {}).items():
            self._set_own(name, value)


def takes_own_fields(section: type[T]) -> type[T]:
    """Lets a section's constructor take the fields of its own part as keywords, as that of 0.1.0 did."""
    init, names = section.__init__, section.__dataclass_fields__  # type: ignore[attr-defined]

    def with_own_fields(self: Any, *values: Any, **named: Any) -> None:
        waiting = {name: named.pop(name) for name in list(named) if name not in names}
        if waiting:
            self.__dict__["_waiting"] = waiting
        init(self, *values, **named)

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
