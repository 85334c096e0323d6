"""Standard MIDI files written byte by byte, right and wrong ones."""

from __future__ import annotations

SCALE = (60, 62, 64, 65, 67, 69, 71, 72)
BEAT = 480
END = b"\x00\xff\x2f\x00"


def vlq(number: int) -> bytes:
    """A variable-length quantity."""
    found = [number & 0x7F]
    while number := number >> 7:
        found.append(number & 0x7F | 0x80)
    return bytes(reversed(found))


def chunk(tag: bytes, body: bytes, length: int | None = None) -> bytes:
    """A chunk; length: what it says of itself, if not the truth."""
    return tag + (len(body) if length is None else length).to_bytes(4, "big") + body


def head(kind: int = 1, tracks: int = 1, division: int = BEAT, length: int | None = None, more: bytes = b"") -> bytes:
    """The header chunk."""
    return chunk(b"MThd", b"".join(n.to_bytes(2, "big") for n in (kind, tracks, division)) + more, length)


def scale(between: bytes = b"", pitches: tuple[int, ...] = SCALE, beat: int = BEAT) -> bytes:
    """Events of the scale, a beat each without pauses; between: events before each note, which take no time."""
    return b"".join(between + bytes([0, 0x90, p, 90]) + vlq(beat) + bytes([0x80, p, 64]) for p in pitches)


def track(events: bytes, length: int | None = None) -> bytes:
    """A track chunk with its end."""
    return chunk(b"MTrk", events + END, length)


def file(*tracks: bytes, **header: int) -> bytes:
    """A whole file of these events."""
    return head(**{"tracks": len(tracks), **header}) + b"".join(track(events) for events in tracks)  # type: ignore[arg-type]


def riff(content: bytes) -> bytes:
    """A file inside the RIFF container that Windows wraps around MIDI (.rmi)."""
    inside = b"RMIDdata" + len(content).to_bytes(4, "little") + content
    return b"RIFF" + len(inside).to_bytes(4, "little") + inside
