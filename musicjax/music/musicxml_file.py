"""MusicXML file -> the tree of its score: plain XML, or a zip archive with the score inside (.mxl; MusicXML 4.0, W3C).

The content decides which of the two it is, not the name. Of a file that is cut off or damaged, the tree holds the
bars before that place. The only importer of xml.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from itertools import pairwise
from typing import IO, TYPE_CHECKING

from musicjax import zip_archive
from musicjax.music.notes import NoNotesError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES = 32 * 2**20  # of one file
MOST_XML_BYTES = 64 * 2**20  # of the score inside an archive, of which a few bytes can hold any number
BLOCK_BYTES = 2**14
CONTAINER = "META-INF/container.xml"
ZIP_SIGNATURES = (zip_archive.HEAD, b"PK\x05\x06")  # the second one is that of an empty archive
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
DECLARED_ENCODING = re.compile(rb"<\?xml[^>]*encoding=[\"']([A-Za-z0-9._-]+)")
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

# What was mended in a file: {code: words}.
Mended = dict[str, str]
Files = dict[str, Callable[[], IO[bytes]]]  # how to open each file of an archive


class MusicXmlError(NoNotesError):
    """A file that is not a score, or that gives no notes."""


def read(path: str | os.PathLike, mended: Mended) -> Element:
    """The root of the score in a file; adds to `mended` what it had to mend.

    Raises:
        MusicXmlError: the file holds no score, or too many bytes.
        OSError: it cannot be opened.
    """
    return _parse(_xml(path, mended), mended)


def count_parts(path: str | os.PathLike) -> int:
    """How many parts a score announces, at least one; raises as `read`, or MusicXmlError if there is none."""
    count = len(re.findall(rb"<score-part\s", _xml(path, {})))
    if not count:
        raise MusicXmlError("no_notes", "announces no parts")
    return count


def holds_score(path: str | os.PathLike) -> bool:
    """Whether a zip archive is a score that is packed, rather than an archive of files; raises OSError."""
    with open(path, "rb") as stream:
        try:
            return any(name == CONTAINER for name, *_ in zip_archive.members(stream))
        except zip_archive.ZipError:
            return any(name == CONTAINER for name, *_ in zip_archive.cut_members(stream))


def _xml(path: str | os.PathLike, mended: Mended) -> bytes:
    with open(path, "rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    if not data:
        raise MusicXmlError("empty", "is empty")
    if len(data) > MOST_BYTES:
        raise MusicXmlError("too_many_bytes", f"has more than {MOST_BYTES:,} bytes")
    return _unzip(data, mended) if data.startswith(ZIP_SIGNATURES) else data


def _unzip(data: bytes, mended: Mended) -> bytes:
    """The score inside an archive: the one that its container names, else the first one."""
    stream = io.BytesIO(data)
    try:
        members = zip_archive.members(stream)
    except zip_archive.ZipError as error:
        members = list(zip_archive.cut_members(stream))
        if not members:
            raise MusicXmlError("bad_archive", f"not a zip archive, or a damaged one: {error}") from error
        mended["bad_archive"] = f"the archive is cut off or damaged ({error}): read as far as it goes"
    files: Files = {name: open_member for name, kind, open_member in members if kind == "file"}
    named = _named(files)
    if named not in files:
        scores = [name for name in files if re.search(r"\.(musicxml|xml)$", name, re.I) and "META-INF" not in name]
        if not scores:
            locked = any(kind == "encrypted" for _, kind, _ in members)
            what = "is encrypted" if locked else f"no compressed MusicXML: its {CONTAINER} names no score that is there"
            raise MusicXmlError("encrypted" if locked else "no_score", what)
        mended.setdefault("no_container", f"its {CONTAINER} names no score that is there: read {scores[0][:80]!r}")
        named = scores[0]
    content, problem = _content(files[named])
    if problem:
        mended.setdefault("bad_archive", f"the score in the archive is damaged ({problem}): read as far as it goes")
    return content


def _named(files: Files) -> str:
    """The score that the container of an archive names; empty if it names none."""
    if CONTAINER not in files:
        return ""
    root, *_ = _grown(_content(files[CONTAINER])[0])
    nodes = [] if root is None else [node for node in root.iter() if node.tag.endswith("rootfile")]
    return nodes[0].get("full-path", "") if nodes else ""


def _content(open_member: Callable[[], IO[bytes]]) -> tuple[bytes, str]:
    """(what a member of an archive holds, what is wrong with the rest of it)."""
    parts, count = [], 0
    try:
        with open_member() as stream:
            while block := stream.read(BLOCK_BYTES):
                parts.append(block)
                count += len(block)
                if count > MOST_XML_BYTES:
                    raise MusicXmlError("too_many_bytes", f"holds a score of more than {MOST_XML_BYTES:,} bytes")
    except (MusicXmlError, MemoryError):
        raise
    except Exception as error:  # zipfile and what it unpacks with have a dozen kinds for damage
        return b"".join(parts), f"{type(error).__name__}: {error}"
    return b"".join(parts), ""


def _parse(data: bytes, mended: Mended) -> Element:
    """The tree of a score, without the bar in which the data end or stop being XML."""
    root, opened, problem = _grown(data)
    if problem and ((legal := _legal(data)) != data or root is None):
        again = _grown(legal, "utf-8")
        if again[0] is not None:
            root, opened, problem = again
            mended["bad_characters"] = "characters that XML does not allow left out or replaced"
    if root is None:
        raise MusicXmlError("bad_xml", f"not XML, or damaged: {problem}")
    if root.tag not in ("score-partwise", "score-timewise"):
        raise MusicXmlError("not_musicxml", f"not a score: expected score-partwise, found {root.tag[:40]!r}")
    if problem:
        mended["bad_xml"] = f"the XML is cut off or damaged ({problem}): only the bars before the damage were read"
        for inner, outer in pairwise(opened):
            if inner.tag == "measure":
                outer.remove(inner)
    return root


def _grown(data: bytes, encoding: str | None = None) -> tuple[Element | None, list[Element], str]:
    """What an XML document gives: its root, the elements that are still open at its end, inner ones first, the problem.

    Refuses entities, which could grow without limit or name other files.

    Args:
        encoding: that of the data, whatever they declare.
    """
    from xml.etree.ElementTree import TreeBuilder
    from xml.parsers import expat

    def refuse(name: str, *rest: object) -> None:
        raise MusicXmlError("entities", f"declares the entity {name[:40]!r}, which no score needs")

    parser, builder = expat.ParserCreate(encoding), TreeBuilder()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    opened: list[Element] = []
    problem = ""
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an encoding that does not exist
        problem = str(error)
        try:
            while True:
                opened.append(builder.end(""))  # closes the innermost element, whatever its name
        except IndexError:  # none is open any more
            pass
    return builder.close(), opened, problem


def _legal(data: bytes) -> bytes:
    """The document in UTF-8, without the bytes and characters that XML does not allow."""
    declared = DECLARED_ENCODING.match(data.lstrip())
    name = "utf-16" if data.startswith(UTF16_MARKS) else declared[1].decode() if declared else "utf-8"
    try:
        text = data.decode(name, "replace")
    except (LookupError, ValueError):
        text = data.decode("utf-8", "replace")
    return NOT_IN_XML.sub("", text.lstrip("\ufeff \t\r\n")).encode()
