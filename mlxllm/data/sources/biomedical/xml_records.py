"""XML files as a stream of the elements that are records: each is found by its tags and handed on as bytes, unparsed.

Nothing of a file but its records reaches an XML parser. So a damaged record costs that record and no other, parsing can
be shared by many processes, memory holds one record at a time, and what a document type declares (entities above all)
is never looked at.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mlxllm.data.sources.files import DamagedFileError

MOST_RECORD_BYTES = 32 << 20
"""Of one record."""
CUT_OFF = "cut-off article"
TOO_LARGE = "article too large"

_LONGEST_NAME = 128
_LONGEST_TAG = 1 << 16
_MOST_PREFIXES = 64
_SHOWN = 60
_NAME = rb"[A-Za-z_\x80-\xff][\w.:\x80-\xff-]{0,%d}" % _LONGEST_NAME
_ANY_TAG = re.compile(rb"<(?:!--|!\[CDATA\[|!DOCTYPE|\?|(/?)(%s))" % _NAME)
_TAG_END = re.compile(rb"(?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*+>")
_PREFIX = re.compile(rb"\s(xmlns(?::[A-Za-z_][\w.-]*)?)\s*=\s*(\"[^\"<]*\"|'[^'<]*')")
_SKIPPED_TO = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}
_DOCTYPE_OPENS = re.compile(rb"[^\[>]*([\[>])")
_KNOWN_PREFIXES = {
    b"xmlns:xlink": b'"http://www.w3.org/1999/xlink"',
    b"xmlns:mml": b'"http://www.w3.org/1998/Math/MathML"',
    b"xmlns:ali": b'"http://www.niso.org/schemas/ali/1.0/"',
    b"xmlns:xsi": b'"http://www.w3.org/2001/XMLSchema-instance"',
}
"""Declared around every record: not every file declares what it uses."""
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_TEXT_CODECS = re.compile(r"utf|(us-?)?ascii|iso|latin|cp\d|windows|koi8|gb|big5|euc|shift|mac", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)


class OtherContentError(Exception):
    """A file is not XML, or XML of another kind; the message says what was found."""


class NoXmlError(OtherContentError):
    """A file is not XML."""


@dataclass(frozen=True, slots=True)
class Element:
    """One record of a file."""

    name: str
    """Of its element, without a namespace prefix."""
    xml: bytes
    """From its start tag to its end tag, in UTF-8; nothing where there is a problem."""
    byte: int
    """Where it begins in the unpacked file."""
    problem: str = ""
    """`CUT_OFF` or `TOO_LARGE`."""


class XmlRecords:
    """The records of one XML file or archive member; records of one name never lie inside each other."""

    def __init__(self, chunks: Iterable[bytes], names: frozenset[str], roots: frozenset[str]) -> None:
        """Nothing is read yet.

        Args:
            chunks: the bytes of the file.
            names: of the elements that are records.
            roots: names of outermost elements that are read; those of records always are.
        """
        self.damage = ""
        """What is wrong behind the last whole record; known at the end."""
        self._chunks, self._names, self._roots = chunks, names, roots | names
        self._prefixes = dict(_KNOWN_PREFIXES)

    def wrapped(self, xml: bytes) -> bytes:
        """A record as an XML document of its own: inside an element that declares what the file declares above it."""
        declared = b"".join(b" %s=%s" % item for item in self._prefixes.items())
        return b"<record%s>%s</record>" % (declared, xml)

    def __iter__(self) -> Iterator[Element]:
        """The records in order, for one pass.

        Raises:
            OtherContentError: this is no file with records; mostly before the first of them.
        """
        tags = _Tags(_as_utf8(self._until_damage()))
        begins, root = -1, b""
        while tag := tags.next():
            name = _local(tag.name)
            if tag.closing:
                if begins >= 0:
                    xml = tags.release(tag.ends)
                    yield Element(name, xml, begins, "" if xml else TOO_LARGE)
                    begins = -1
                if tag.name == root:
                    root = b""
            elif begins >= 0:
                # A second beginning: the end of the record before is lost.
                yield Element(name, b"", begins, CUT_OFF)
                begins = tags.hold(tag)
            else:
                if not root:
                    root = tag.name
                    if name not in self._roots:
                        raise OtherContentError(f"XML with the root element <{_shown(root)}>")
                if name not in self._names:
                    self._note_prefixes(tag.text)
                elif not tag.text.endswith(b"/>"):
                    begins = tags.hold(tag)
        if begins >= 0:
            yield Element(name, b"", begins, CUT_OFF)
        if root and not self.damage:
            self.damage = "the XML ends early"

    def _until_damage(self) -> Iterator[bytes]:
        try:
            yield from self._chunks
        except DamagedFileError as error:
            self.damage = str(error)

    def _note_prefixes(self, tag: bytes) -> None:
        for name, value in _PREFIX.findall(tag):
            if len(self._prefixes) < _MOST_PREFIXES:
                self._prefixes[name] = value


@dataclass(frozen=True, slots=True)
class _Tag:
    closing: bool
    name: bytes
    text: bytes
    """All of it, from < to >."""
    begins: int
    """Its first byte, counted from the beginning of the file."""
    ends: int
    """The byte behind it."""


class _Tags:
    """The tags of a file, or while a record is held only those of its name; comments and the like are passed over."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()
        self._base = 0  # the byte of the file at which the buffer begins
        self._at = 0  # place in the buffer; everything before it has been looked at
        self._held = -1  # the byte of the file from which on everything is kept, -1: nothing is
        self._skip_to = b""
        self._pattern = _ANY_TAG
        self._begin()

    def hold(self, tag: _Tag) -> int:
        """Keep what comes from this tag on, and look only for tags of its name; where it begins."""
        self._held = tag.begins
        self._pattern = re.compile(rb"<(?:!--|!\[CDATA\[|(/?)(%s)(?=[\s/>]))" % re.escape(tag.name))
        return tag.begins

    def release(self, end: int) -> bytes:
        """What was held up to a byte of the file; nothing if that was too much to be kept."""
        kept = bytes(self._buffer[self._held - self._base : end - self._base]) if self._held >= 0 else b""
        self._held, self._pattern = -1, _ANY_TAG
        return kept if len(kept) <= MOST_RECORD_BYTES else b""

    def next(self) -> _Tag | None:
        """The next tag, None at the end of the file."""
        while True:
            if self._skip_to:
                end = self._buffer.find(self._skip_to, self._at)
                if end < 0:
                    self._at = max(self._at, len(self._buffer) - len(self._skip_to) + 1)
                    if not self._fill():
                        return None
                    continue
                self._at, self._skip_to = end + len(self._skip_to), b""
            match = self._pattern.search(self._buffer, self._at)
            if match is None:
                self._at = max(self._at, len(self._buffer) - _LONGEST_NAME - 2)
                if not self._fill():
                    return None
                continue
            opened = match[0]
            pattern = _DOCTYPE_OPENS if opened == b"<!DOCTYPE" else _TAG_END
            rest = pattern.match(self._buffer, match.end(), match.end() + _LONGEST_TAG)
            if opened in _SKIPPED_TO:
                self._at, self._skip_to = match.end(), _SKIPPED_TO[opened]
            elif rest is None:
                # The rest of the tag has not been read yet, or it is none.
                self._at = match.start()
                if len(self._buffer) - match.end() >= _LONGEST_TAG or not self._fill():
                    self._at += 1
            elif opened == b"<!DOCTYPE":
                self._at = rest.end()
                self._skip_to = b"]>" if rest[1] == b"[" else b""
            else:
                self._at = rest.end()
                begins, ends = self._base + match.start(), self._base + rest.end()
                text = bytes(self._buffer[match.start() : rest.end()])
                return _Tag(bool(match[1]), bytes(match[2]), text, begins, ends)

    def _fill(self) -> bool:
        """Read on, forgetting what is neither held nor ahead; whether there was more."""
        if self._held >= 0 and self._base + self._at - self._held > MOST_RECORD_BYTES:
            self._held = -1
        unused = self._at if self._held < 0 else self._held - self._base
        del self._buffer[:unused]
        self._base, self._at = self._base + unused, self._at - unused
        chunk = next(self._chunks, b"")
        self._buffer += chunk
        return bool(chunk)

    def _begin(self) -> None:
        while not (start := bytes(self._buffer.lstrip()[:_SHOWN])):
            self._at = len(self._buffer)
            if not self._fill():
                raise NoXmlError("an empty file")
        if not start.startswith(b"<"):
            raise NoXmlError(f"no XML: it begins with {_beginning(start)}")


def _as_utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same text in UTF-8, from the encoding that its mark or its XML declaration names."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= 256:
            break
    head = head.removeprefix(codecs.BOM_UTF8)
    codec = next((codec for mark, codec in _MARKS if head.startswith(mark)), "")
    if not codec and (declared := _DECLARED.match(head.lstrip())):
        codec = declared[1].decode()
    if not codec or codec.lower() in ("utf-8", "utf8", "us-ascii", "ascii"):
        if head:
            yield head
        yield from chunks
        return
    try:
        # Python has codecs that are no encodings of text.
        decoder = codecs.getincrementaldecoder(codec if _TEXT_CODECS.match(codec) else "?")(errors="replace")
    except LookupError:
        raise OtherContentError(f"XML in an encoding that is not known here, {codec!r}") from None
    yield decoder.decode(head).encode(errors="replace")
    for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text.encode(errors="replace")


def _local(name: bytes) -> str:
    return name.rpartition(b":")[2].decode(errors="replace")


def _shown(found: bytes) -> str:
    return found[:_SHOWN].decode(errors="replace")


def _beginning(found: bytes) -> str:
    text = _shown(found)
    return repr(text) if text.isprintable() and "\ufffd" not in text else f"the bytes {found[:8].hex(' ')}"
