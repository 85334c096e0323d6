"""From a folder of MIDI or MusicXML files to a corpus of pieces: find, read, pool, cache, load, split."""
