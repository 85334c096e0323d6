"""The two ways a user's request can fail, and the one line each is told in.

A message says what is wrong, what was expected and what to do.
"""


class UsageError(ValueError):
    """The request itself is wrong (flag, config field, range): exit status 2."""


class RunError(RuntimeError):
    """The request is fine, its data or its run is not: exit status 1."""
