"""How a config is built: fields, sections, and the part of a section that only one encoding has."""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Collection, Iterable, Iterator
from typing import Any, TypeVar

from musicjax import console, renamed
from musicjax.arguments import shown
from musicjax.errors import UsageError

T = TypeVar("T", bound="Section")
# 0.1.0 had a head field in every encoding; this is its value in those that leave no choice.
HEAD, ONLY_HEAD = "model.head", {"notes": "regression", "events": "categorical", "frames": None}


def knob(default, meaning: str, *, low=None, high=None, choices: tuple = (), may_change: bool = False):
    """A config field: default, meaning with unit, inclusive range or choices.

    `may_change` marks a field that may change when a run continues.
    """
    rules = {"meaning": meaning, "low": low, "high": high, "choices": choices, "may_change": may_change}
    return dataclasses.field(default=default, metadata=rules)


class Fields:
    """What the classes of a config share: only their fields can be set. Names of 0.1.0 work too, with one line."""

    NAME = ""  # of the section

    def __setattr__(self, name: str, value: Any) -> None:
        present = self.path_of(name, say=True).split(".")[-1]
        if present not in field_names(type(self)):
            raise unknown_field(self.path_of(name), [self.path_of(each) for each in self.settable()])
        object.__setattr__(self, present, value)

    def path_of(self, name: str, say: bool = False) -> str:
        """The path of a field by its name; `say` gives the present one of an old name, with a line."""
        path = f"{self.NAME}.{name}" if self.NAME else name
        return present_path(path, say) if say else path

    def settable(self) -> list[str]:
        """The names that can be set."""
        return list(field_names(type(self)))


class Section(Fields):
    """A section whose own part's fields can be read and set as if they stood in the section.

    A field or a part that only other encodings have waits until the encoding is settled, so that all can be assigned
    in any order.
    """

    PARTS: dict[str, type] = {}  # noqa: RUF012 - of each encoding, the class of `own`
    own: Any

    def __post_init__(self) -> None:
        if self.own is not None:
            self.own = copy.copy(self.own)  # no two sections share a part

    def __getattr__(self, name: str) -> Any:
        present = present_path(f"{self.NAME}.{name}").split(".")[1]
        for holder in (self.__dict__.get("own"), self.__dict__.get("_waiting")):
            values = holder if isinstance(holder, dict) else vars(holder) if holder is not None else {}
            if present in values:
                return values[present]
        raise AttributeError(f"config.{self.NAME} has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        present = self.path_of(name, say=True).split(".")[1]
        if name == "own":
            if type(value) not in self.PARTS.values() and not (value is None and self.__dict__.get("own") is None):
                raise UsageError(f"config.{self.NAME}.own={shown(value)}: expected the part of an encoding")
            self.__dict__["own"] = value
            self.require_part()
        elif present not in field_names(type(self)) and present in self.settable():
            if self.own is not None and present in vars(self.own):
                setattr(self.own, present, value)
            else:
                self.__dict__.setdefault("_waiting", {})[present] = value
        else:
            super().__setattr__(name, value)

    def settable(self) -> list[str]:
        """The names that can be set, in the section and in all its parts."""
        names = [*super().settable(), *(name for part in self.PARTS.values() for name in field_names(part))]
        return [name for name in dict.fromkeys(names) if name != "own"]

    def require_part(self) -> None:
        """Marks the part as chosen, so that settling the encoding never replaces it silently."""
        self.__dict__["_chosen"] = self.own is not None

    def encodings_with(self, name: str) -> list[str]:
        """The encodings whose part has a field of this name."""
        return [encoding for encoding, part in self.PARTS.items() if name in field_names(part)]

    def settle(self, encoding: str) -> None:
        """Gives the section the part of this encoding and sets the fields that waited for it.

        Raises:
            UsageError: a part that was chosen, or a field that waited, belongs to other encodings and is not a default,
                which 0.1.0 allowed.
        """
        if type(self.own) is not self.PARTS[encoding]:
            if self.__dict__.get("_chosen") and self.own != type(self.own)():
                raise wrong_part(self, encoding)
            self.replace_part(encoding)
        self.__dict__["_chosen"] = False
        for name, value in self.__dict__.get("_waiting", {}).items():
            if name in vars(self.own):
                setattr(self.own, name, value)
            elif value not in [self.PARTS[other]().__dict__[name] for other in self.encodings_with(name)]:
                self.require_own(name, value, encoding)
        self.__dict__.pop("_waiting", None)

    def replace_part(self, encoding: str) -> None:
        """Takes the part of an encoding with its defaults; says what values of another part are dropped."""
        if self.own is not None and self.own != type(self.own)():
            say_dropped(encoding, self.own)
        self.own = self.PARTS[encoding]()

    def require_own(self, name: str, value: Any, encoding: str) -> None:
        """Raises UsageError, which names the encodings that have it, if this encoding's part lacks a field."""
        path, others = f"{self.NAME}.{name}", self.encodings_with(name)
        if (
            name not in field_names(type(self))
            and encoding not in others
            and (path, value) != (HEAD, ONLY_HEAD[encoding])
        ):
            for other in others:
                valid(path, field_names(self.PARTS[other])[name], value)
            raise UsageError(
                f"config.{path}={shown(value)}: the encoding {encoding} has no such field; these have "
                f"it: {', '.join(others)}; leave it out, or choose --config.data.encoding={' or '.join(others)}"
            )


def field_names(part: Any) -> dict[str, dataclasses.Field]:
    """The fields of a dataclass by their names."""
    return part.__dataclass_fields__


def wrong_part(section: Section, encoding: str, part: Any = None) -> UsageError:
    """The error for a part, the section's own if none is given, that belongs to another encoding."""
    found = type(section.own if part is None else part).__name__
    return UsageError(
        f"config.{section.NAME}.own is {found}: expected {section.PARTS[encoding].__name__}, since "
        f"config.data.encoding={encoding!r}"
    )


def say_dropped(encoding: str, part: Any) -> None:
    """Says that the fields which only another encoding has are dropped with their values."""
    console.say_once("config", f"data.encoding={encoding!r} drops {part!r}; its own fields have their defaults")


def unknown_field(path: str, known: Collection[str]) -> UsageError:
    """What to say of a path that no field has: the nearest of the known ones, old names included.

    A field of another part that has this very name comes before one with a similar name.
    """
    from musicjax import config as config_lib  # here, since the config is built of what this file has

    same = [each for each in config_lib.paths() if each.split(".")[-1] == path.split(".")[-1]]
    known = same or known
    names = {name: name for name in known}
    names |= {old: new for old, new in renamed.FIELDS.items() if new in names}
    last = {name.split(".")[-1]: name for name in names}
    near = [names[last[name]] for name in difflib.get_close_matches(path.split(".")[-1], last, n=1)]
    near = near or difflib.get_close_matches(path, known, n=1)
    hint = f"did you mean config.{near[0]}?" if near else f"the fields are {', '.join(known)}"
    return UsageError(f"unknown field config.{path}: {hint}")


def require_one_name(paths: Iterable[str]) -> None:
    """Raises UsageError if a field is given under its old and its present name."""
    given: dict[str, str] = {}
    for path in paths:
        other = given.setdefault(present_path(path), path)
        if other != path:
            raise UsageError(f"config.{other} and config.{path} are the same: expected one of them")


def takes_own_fields(section: type[T]) -> type[T]:
    """Lets a section's constructor take the fields of its own part as keywords, as that of 0.1.0 did.

    An encoding that is named decides which part there is; else the part does.
    """
    init, names = section.__init__, field_names(section)

    def with_own_fields(self: Any, *unnamed: Any, **named: Any) -> None:
        if unnamed:
            raise UsageError(
                f"{section.__name__}({shown(unnamed[0])}): expected fields by their names, as in "
                f"{section.__name__}({next(iter(names))}=...)"
            )
        require_one_name(f"{section.NAME}.{name}" for name in named)
        waiting = {name: named.pop(name) for name in list(named) if name not in names}
        own = named.get("own")
        fitting = [encoding for encoding, part in section.PARTS.items() if part is type(own)]
        if "encoding" in names and fitting and named.setdefault("encoding", fitting[0]) not in fitting:
            encoding = named["encoding"]
            if encoding in list(section.PARTS):  # any other one is refused when the config is validated
                if len(named) < len(names):
                    raise wrong_part(self, encoding, own)
                # dataclasses.replace passes every field, so nothing tells whether the caller chose the part.
                say_dropped(encoding, own)
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

    def in_range(number: Any) -> bool:
        return type(number) in (int, float) and rules["low"] <= number <= rules["high"]

    if wanted is tuple and isinstance(value, list | tuple):  # a list, as JSON has it
        value = tuple(float(item) if in_range(item) else item for item in value)
        if not all(map(in_range, value)):
            raise UsageError(
                f"config.{path}={shown(value)}: expected numbers in {rules['low']}..{rules['high']} "
                f"({rules['meaning']})"
            )
    if wanted is float and type(value) is int:  # compared as it is: it may be too large for a float
        value = float(value) if in_range(value) else value
    elif type(value) is not wanted:
        name = "list" if wanted is tuple else wanted.__name__
        raise UsageError(f"config.{path}={shown(value)} is not of type {name}: {rules['meaning']}")
    if rules["choices"] and value not in rules["choices"]:
        raise UsageError(f"config.{path}={shown(value)}: expected one of {', '.join(rules['choices'])}")
    if wanted in (int, float) and not in_range(value):
        raise UsageError(f"config.{path}={shown(value)}: expected {rules['low']}..{rules['high']} ({rules['meaning']})")
    if wanted is str and field.default and not value:
        raise UsageError(f"config.{path} is empty: expected {rules['meaning']}")
    return value


def present_path(path: str, say: bool = False) -> str:
    """The present path of a field that 0.1.0 called something else; any other path as it is."""
    present = renamed.FIELDS.get(path, path)
    if say and present != path:
        console.say_once("renamed", f"config.{path} is now config.{present}")
    return present
