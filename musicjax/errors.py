"""The two ways in which a user's request can fail; each is reported in one line.

A message says what is wrong, what was expected and what to do.
"""


def printable(text: str) -> str:
    """The text with control characters and undecodable bytes written as escapes, for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class UsageError(ValueError):
    """The request itself is wrong (flag, config field, range): exit status 2."""


class RunError(RuntimeError):
    """The request is fine, its data or its run is not: exit status 1."""


class SaveError(RunError):
    """A checkpoint could not be saved; threads that worked on it may never end."""
