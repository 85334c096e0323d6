"""Searches over the fields of a config: many trials, of which the worse ones end early."""
