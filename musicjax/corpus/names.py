"""Many names in little memory."""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence
from typing import overload


class Names(Sequence[str]):
    """Names as bytes end to end. They can be added to, and not changed."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._bytes, self._ends = bytearray(), array.array("q", [0])
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Adds one."""
        self._bytes += name.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogateescape")
