"""Which records of PubMed are out of date: a later file holds another version of them, or says that they are deleted.

Files are read newest first, so that it is enough to remember the numbers met so far, one bit each: 5 MB for the 40
million citations of PubMed.
"""

import re
from collections.abc import Iterable
from pathlib import Path

DELETED = "deleted"
REPLACED = "replaced by a later version"
MOST_NUMBER = 1 << 28
"""Numbers from here on are nobody's (PMIDs have 8 digits, and so have the numbers of PubMed Central)."""
_RELEASE = re.compile(r"(?:pubmed|medline)(\d\d)n(\d{4,})", re.IGNORECASE)
_DATE = re.compile(r"(?:19|20)\d\d[-._]\d\d[-._]\d\d")
_DIGITS = re.compile(r"(\d+)")


class Numbers:
    """A set of small whole numbers, one bit each up to the largest."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def __contains__(self, number: int) -> bool:
        byte = number >> 3
        return byte < len(self._bits) and bool(self._bits[byte] & 1 << (number & 7))

    def add(self, number: int) -> None:
        """Put in a number from 0 to `MOST_NUMBER`, that not included."""
        byte = number >> 3
        if byte >= len(self._bits):
            # In large steps, or the bytes would be copied for each new number.
            self._bits.extend(bytes((byte | 0xFFFF) + 1 - len(self._bits)))
        self._bits[byte] |= 1 << (number & 7)


class Versions:
    """Which record of a number is the one to be read, file by file, newest first.

    Before a file is read it is looked over: all that it deletes and all that it holds is told here in advance. A number
    that one file holds more than once, and only such a number, takes more memory than its bit.
    """

    def __init__(self) -> None:
        self._deleted, self._met, self._held = Numbers(), Numbers(), Numbers()
        self._latest: dict[int, tuple[int, int]] = {}

    def begin_file(self) -> None:
        """The next older file is going to be looked over."""
        self._held, self._latest = Numbers(), {}

    def look_over(self, number: int, version: int, place: int) -> None:
        """The file holds such a record; of several the one of the highest version counts, else the last."""
        if number in self._held:
            self._latest[number] = max((version, place), self._latest.get(number, (version, place)))
        self._held.add(number)

    def delete(self, number: int) -> None:
        """The file deletes a number, in itself and in all older files."""
        self._deleted.add(number)

    def out_of_date(self, number: int, version: int, place: int) -> str:
        """Why a record of the file is left out, or nothing if it is to be read."""
        if number in self._deleted:
            return DELETED
        # What comes first in a file was not known to be repeated when it was looked over: it is compared here.
        if number in self._met or (version, place) < self._latest.get(number, (0, 0)):
            return REPLACED
        self._met.add(number)
        return ""


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """By year and number of a release (pubmed25n1274), else by the date in the name, else by the name with its numbers."""
    return sorted(paths, key=_age, reverse=True)


def _age(path: Path) -> tuple[object, ...]:
    release, date = _RELEASE.search(path.name), _DATE.search(path.name)
    year, number = (int(release[1]), int(release[2])) if release else (-1, -1)
    # MEDLINE's first files of this kind are those of 1998.
    year += (1900 if year >= 66 else 2000) if release else 0
    digits = _DIGITS.split(path.name)
    natural = tuple((int(part), "") if i % 2 else (-1, part) for i, part in enumerate(digits))
    return year, number, _DIGITS.findall(date[0]) if date else [], natural, str(path)
