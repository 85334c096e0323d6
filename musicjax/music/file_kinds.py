"""What a file is: by its first bytes, whatever its name says, or by its name where they tell nothing."""

from __future__ import annotations

import re

HEAD_BYTES = 8192  # of a file; enough for the comments that may stand before the first element of a score
MIDI_SEARCHED_BYTES = 1024  # a wrapper or stray bytes before the header of a MIDI file may be this long
TAR_BLOCK_BYTES = 512
CHECKSUM = slice(148, 156)  # of a tar header: the sum of its bytes, in octal, with eight blanks in its own place

MIDI, SCORE = "MIDI", "MusicXML"
# Archives, by the words that name them.
ZIP, TAR, GZIP, BZIP2, XZ = "zip archive", "tar archive", "gzip archive", "bzip2 archive", "xz archive"
RAR, SEVEN_ZIP = "RAR archive", "7-Zip archive"
ARCHIVES = (ZIP, TAR, GZIP, BZIP2, XZ, RAR, SEVEN_ZIP)
READ_ARCHIVES = ARCHIVES[:5]

# What names end with.
SCORE_SUFFIXES = (".mxl", ".musicxml", ".xml")
MUSIC_SUFFIXES = (".mid", ".midi", ".kar", ".rmi", *SCORE_SUFFIXES)
ARCHIVE_SUFFIXES = {
    ".zip": ZIP,
    ".tar": TAR,
    ".tar.gz": GZIP,
    ".tgz": GZIP,
    ".tar.bz2": BZIP2,
    ".tbz2": BZIP2,
    ".tar.xz": XZ,
    ".txz": XZ,
}
SUFFIXES = (*MUSIC_SUFFIXES, *ARCHIVE_SUFFIXES)

_SCORE = re.compile(rb"<(!DOCTYPE\s+)?score-(part|time)wise\b")
_SIGNATURES = {
    b"MThd": MIDI,
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,  # an empty one
    b"\x1f\x8b": GZIP,
    b"BZh": BZIP2,
    b"\xfd7zXZ\x00": XZ,
    b"Rar!\x1a\x07": RAR,
    b"7z\xbc\xaf\x27\x1c": SEVEN_ZIP,
}


def of(head: bytes) -> str:
    """MIDI, SCORE or one of ARCHIVES, by the first HEAD_BYTES of a file; empty if it is none of them."""
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"RMID":
        return MIDI
    if _is_tar(head[:TAR_BLOCK_BYTES]):  # before MIDI, since one may begin right after this block
        return TAR
    if b"MThd" in head[: MIDI_SEARCHED_BYTES + 4]:
        return MIDI
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")  # UTF-16, and the mark of an encoding
    return SCORE if text.startswith(b"<") and _SCORE.search(text) else ""


def suffix_of(name: str) -> str:
    """The one of SUFFIXES that a file's name or path ends with, in small letters; empty if it is none of them."""
    small = name.lower().rpartition("/")[2]
    return next((suffix for suffix in SUFFIXES if small.endswith(suffix) and len(small) > len(suffix)), "")


def _is_tar(block: bytes) -> bool:
    if len(block) < TAR_BLOCK_BYTES or not any(block):
        return False
    if block[257:262] == b"ustar":
        return True
    try:  # the first tar archives had no name in their headers
        stated = int(block[CHECKSUM].strip(b" \0"), 8)
    except ValueError:
        return False
    return stated == sum(block) - sum(block[CHECKSUM]) + 8 * ord(" ")
