"""What music is: notes, MIDI files, scores, scales, metrics, rows and frames. NumPy and mido, never JAX."""

# The versions are part of names in the cache. They are here so that a start that reads the cache imports no reader.
READER_VERSION = 4  # of the readers of MIDI and MusicXML: raise it whenever the same bytes would give other notes
EARLIER_READERS = (3,)  # whose runs are still evaluated
COMPOSER_VERSION = 2  # of builtin_clips.py: raise it whenever the same seed would compose other music
