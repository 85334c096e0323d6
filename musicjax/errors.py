"""The two ways in which a user's request can fail; each is reported in one line.

A message says what is wrong, what was expected and what to do.
"""


class UsageError(ValueError):
    """The request itself is wrong (flag, config field, range): exit status 2."""


class RunError(RuntimeError):
    """The request is fine, its data or its run is not: exit status 1."""


class TogetherError(RunError):
    """The processes of one training cannot go on together, and all of them know."""


class SaveError(RunError):
    """A checkpoint could not be saved; threads that worked on it may never end."""
