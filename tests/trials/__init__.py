"""The 25 trials of what must not break; `python -m tests.trials` runs them and prints a table."""
