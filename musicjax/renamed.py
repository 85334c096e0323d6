"""What older versions called things, and what they are called now."""

from __future__ import annotations

# Fields of a line of metrics.jsonl. The accuracy stood there twice, once by a name of its encoding.
METRICS = {"majority_agreement": "majority_accuracy"}
DUPLICATES = ("argmax_agreement", "key_agreement", "bin_agreement")


def metrics(line: dict) -> dict:
    """A line of metrics.jsonl, of this version or an older one, by the present names."""
    return {METRICS.get(name, name): value for name, value in line.items() if name not in DUPLICATES}
