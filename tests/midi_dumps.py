"""MIDI files from commented hex dumps.

The dumps are events of one track; the header, the length of the track and its end are put around them. The
time division is 96 (hex 60) ticks a beat, so at the default tempo a delta of hex 60 is one beat or half a second.
"""

END_OF_TRACK = "00 ff 2f 00"


def from_hex(text: str) -> bytes:
    """The bytes of a hex dump with comments."""
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in text.splitlines()))


def midi_file(*tracks: str, kind: int = 1, division: str = "00 60", end: str = END_OF_TRACK) -> bytes:
    """A file with these tracks."""
    header = b"MThd" + from_hex("00 00 00 06") + bytes([0, kind, 0, len(tracks)]) + from_hex(division)
    bodies = [from_hex(track) + from_hex(end) for track in tracks]
    return header + b"".join(chunk(b"MTrk", body) for body in bodies)


def chunk(name: bytes, body: bytes) -> bytes:
    """Name, length and body."""
    return name + len(body).to_bytes(4, "big") + body
