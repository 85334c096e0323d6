"""The 25 trials of what must not break; `python -m tests.reliability` runs them and prints a table."""
