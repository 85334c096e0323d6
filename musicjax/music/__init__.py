"""What music is: notes, MIDI files, corpora, the Note Matrix. NumPy and mido only, never JAX."""
