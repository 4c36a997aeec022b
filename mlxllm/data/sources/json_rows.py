"""JSON records as they are spread: an object a line, or one list of objects; told apart by how the file begins."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mlxllm.data.sources.base import Dropped, Problems
from mlxllm.data.sources.decoding import DAMAGED, MOST_LINE_BYTES, byte_lines
from mlxllm.data.sources.files import DamagedFileError, read_chunks

Row = tuple[str, dict[str, Any]]
"""Where it stands, and what stands there."""
_BLANKS = " \t\r\n"
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", type(None): "null"}
_FIRST_LINE_BYTES = 1 << 20


def json_rows(file: Path | BinaryIO, where: str, problems: Problems) -> Iterator[Row | Dropped]:
    """The objects of a file, plain or packed, those that are none as Dropped.

    Args:
        file: a path, or a file that is open and can seek.
        where: what it is called in places.
        problems: told where the file breaks off.
    """
    if _is_lines(file):
        yield from _of_lines(file, where, problems)
    else:
        yield from _of_list(file, where, problems)


def keys_of(value: object) -> str:
    """What a JSON value is, in a few words."""
    if not isinstance(value, dict):
        return _KINDS.get(type(value), "a value")
    return f"an object with keys {', '.join(map(repr, list(value)[:8]))}" if value else "an empty object"


def _of_lines(file: Path | BinaryIO, where: str, problems: Problems) -> Iterator[Row | Dropped]:
    _rewind(file)
    for number, line in byte_lines(file, problems, where=where):
        place = f"{where}:{number}"
        if not line.strip():
            continue
        begin = line[:500].decode("utf-8", "replace")
        if len(line) >= MOST_LINE_BYTES:
            yield Dropped("line too long", place, f"more than {MOST_LINE_BYTES >> 20} MiB", begin)
            continue
        try:
            value = json.loads(line)
        except UnicodeDecodeError as error:
            yield Dropped("undecodable line", place, f"byte {error.start:,} of the line is not UTF-8", begin)
        except (ValueError, RecursionError) as error:
            yield Dropped("bad JSON", place, str(error) or "nested too deep", begin)
        else:
            yield (place, value) if isinstance(value, dict) else Dropped("no object", place, f"found {keys_of(value)}")


def _of_list(file: Path | BinaryIO, where: str, problems: Problems) -> Iterator[Row | Dropped]:
    """The values of one list, or values behind each other that take several lines each."""
    number = 0
    text = _Text(file)
    decoder = json.JSONDecoder()
    try:
        while text.skip(_BLANKS + "[],"):
            try:
                value = text.value(decoder)
            except ValueError as error:
                problems.mend(DAMAGED, where, f"no JSON from record {number:,} on ({error})")
                return
            place = f"{where}#{number}"
            number += 1
            yield (place, value) if isinstance(value, dict) else Dropped("no object", place, f"found {keys_of(value)}")
    except (DamagedFileError, UnicodeDecodeError) as error:
        problems.mend(DAMAGED, where, f"{error}; used up to record {number:,}")


class _Text:
    """The text of a file, of which so much is kept as the value needs that is being read."""

    def __init__(self, file: Path | BinaryIO) -> None:
        _rewind(file)
        self._texts = _decoded(file)
        self._text, self._at = "", 0

    def skip(self, signs: str) -> bool:
        """Pass signs; whether anything else comes."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in signs:
                self._at += 1
            if self._at < len(self._text):
                return True
            if not self._more(1):
                return False

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The next value.

        Raises:
            ValueError: it is no JSON, or too long.
        """
        while True:
            try:
                found, end = decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more(1):  # a number may go on
                    self._at = end
                    return found
            except RecursionError:
                raise ValueError("it is nested too deep") from None
            except json.JSONDecodeError:
                have = len(self._text) - self._at
                if have > MOST_LINE_BYTES:
                    raise ValueError(f"it takes more than {MOST_LINE_BYTES >> 20} Mi characters") from None
                # Twice as much each time, so that a long value is not read over and over.
                if not self._more(have):
                    raise

    def _more(self, least: int) -> bool:
        parts = [self._text[self._at :]]
        self._at = 0
        while least > 0 and (text := next(self._texts, "")):
            parts.append(text)
            least -= len(text)
        self._text = "".join(parts)
        return len(parts) > 1


def _decoded(file: Path | BinaryIO) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    for chunk in read_chunks(file):
        if text := decoder.decode(chunk):
            yield text
    decoder.decode(b"", final=True)


def _is_lines(file: Path | BinaryIO) -> bool:
    """Whether the first line is a whole value and no list, or nothing that JSON begins with."""
    head = bytearray()
    try:
        for chunk in read_chunks(file):
            head += chunk
            if b"\n" in head.lstrip() or len(head) > _FIRST_LINE_BYTES:
                break
    except DamagedFileError:
        pass
    first, ended, _ = bytes(head).removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    if first.startswith(b"["):
        return False
    if not ended or not first.startswith(b"{"):
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        # A pretty-printed object breaks behind its brace or a comma; else it is a line with a mistake.
        return not first.rstrip().endswith((b"{", b",", b"[", b":"))
    return True


def _rewind(file: Path | BinaryIO) -> None:
    if not isinstance(file, Path):
        file.seek(0)
