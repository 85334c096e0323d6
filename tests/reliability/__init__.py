"""What must not break: 25 kinds of misfortune. `python -m tests.reliability` tries them and prints a table."""
