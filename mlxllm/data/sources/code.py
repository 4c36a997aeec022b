"""Source code as it lies in a checkout or an archive of one; what git ignores is not read.

An archive is gone through twice: what its .gitignore and licence files say counts for files before them too.
"""

import codecs
import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlxllm.data.sources.base import Document, Dropped, Record, RecordSource, SourceKind
from mlxllm.data.sources.code_files import OTHER, file_reason, folder_reason, language_of, may_be_code
from mlxllm.data.sources.decoding import DAMAGED
from mlxllm.data.sources.files import DamagedFileError, shown_name
from mlxllm.data.sources.gitignore import NAME, IgnoreRules
from mlxllm.data.sources.licences import ANY, LicenceChoice, licence_of
from mlxllm.data.sources.options import joined, names_option, split_options
from mlxllm.data.sources.trees import DamagedMemberError, PassOver, TreeFile, is_archive, tree_files
from mlxllm.errors import ConfigError, DataError

KIND = SourceKind(
    "code",
    "checkouts and archives of code: a folder, .tar, .tar.gz, .tar.zst or .zip, or a glob of them, without what .gitignore "
    "names; ,lang=python+rust by language, ,licence=permissive",
    "your own files: their licence, which is told from LICENSE where it can be",
    "code:.",
    "writing code as you and your projects write it",
    recipe="code",
)
MOST_FILE_BYTES = 1 << 20
"""Larger files are data, whatever their suffix."""
IGNORED, UNREADABLE = "ignored by git", "unreadable file"
_LICENCE_NAMES = ("license", "licence", "copying", "unlicense")
_NOTE_BYTES = 1 << 18
_MOST_LICENCES = 10_000
_HEAD_CHARS = 2000
_BINARY_BYTES = 8000
_SHOWN_CHARS = 500


def parse(spec: str) -> "CodeSource":
    """The source that `code:PATH[,lang=...][,licence=...]` stands for.

    Raises:
        ConfigError: no path is named, or an option is not understood.
        DataError: there is nothing at the path, or it is neither a folder nor an archive.
    """
    place, options = split_options(KIND.kind, spec, ("lang", "licence", "license"))
    if not place:
        raise ConfigError("source 'code' needs a folder or an archive: code:PATH")
    return CodeSource(place, names_option(KIND.kind, options, "lang"), LicenceChoice(KIND.kind, options, ANY))


class CodeSource(RecordSource):
    """A document a file of code."""

    def __init__(self, pattern: str, languages: frozenset[str], licence: LicenceChoice) -> None:
        """Look up the folder and the archives; none is read yet.

        Args:
            pattern: a folder, an archive or a glob.
            languages: only these, in lower case; all where there are none.
            licence: which licences.

        Raises:
            DataError: there is nothing at the path, or it is neither a folder nor an archive.
        """
        options = {"lang": "+".join(sorted(languages)), "licence": None if licence.is_any else licence.written}
        super().__init__(shown_name(pattern), f"{KIND.kind}:{joined(pattern, options)}")
        self.languages, self.licence = languages, licence
        self.places = _places(pattern)
        """Folders and archives, sorted."""

    def parts(self) -> Sequence[str]:
        """Folders and archives."""
        return [str(place) for place in self.places]

    def records(self, part: str) -> Iterator[Record | Document | Dropped]:
        """A record a file of code, with its bytes."""
        try:
            notes = _Notes.of(Path(part))
            yield from self._files(part, notes)
        except DamagedFileError as error:
            self.problems.mend(DAMAGED, part, str(error))
        except OSError as error:
            self.problems.mend(UNREADABLE, part, error.strerror or str(error))

    def extract(self, record: Record) -> Document | Dropped:
        """The text of a file, if it is text."""
        data, metadata = record.content
        if b"\0" in data[:_BINARY_BYTES] and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return Dropped("binary file", record.where)  # git tells it so, too
        try:
            encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            shown = data[:_SHOWN_CHARS].decode("utf-8", "replace")
            return Dropped("undecodable file", record.where, f"byte {error.start:,} is not {error.encoding}", shown)
        if not text.strip():
            return Dropped("empty", record.where)
        if own := licence_of(text[:_HEAD_CHARS]):
            metadata = {**metadata, "licence": own}
        told = metadata.get("licence", "")
        if not self.licence.takes_expression(told):
            return Dropped("other licence" if told else "no licence", record.where, told, text[:_SHOWN_CHARS])
        return Document(text, record.where, self.name, metadata=metadata)

    def _files(self, part: str, notes: "_Notes") -> Iterator[Record | Dropped]:
        def pass_over(reason: str, name: str) -> None:
            self.problems.mend(reason, f"{part}/{name}")

        def enter(folder: str) -> bool:
            reason = folder_reason(folder.rpartition("/")[2]) or (
                IGNORED if notes.ignores(folder, folder=True) else None
            )
            if reason is not None:
                pass_over(reason, folder)
            return reason is None

        empty = True
        for file in tree_files(Path(part), enter, pass_over):
            empty = False
            folder, _, name = file.path.rpartition("/")
            reason = next(filter(None, map(folder_reason, folder.split("/"))), None) if folder else None
            reason = reason or file_reason(name) or (IGNORED if notes.ignores(file.path) else None)
            if reason is None and not may_be_code(name):
                reason = OTHER
            if reason is not None:
                pass_over(reason, file.path)
            elif (record := self._record(part, file, notes, pass_over)) is not None:
                yield record
        if empty:
            self.problems.mend("nothing in it", part, "it holds no file")

    def _record(self, part: str, file: TreeFile, notes: "_Notes", pass_over: PassOver) -> Record | Dropped | None:
        where = f"{part}/{file.path}"
        try:
            data = file.read(MOST_FILE_BYTES + 1)
        except DamagedMemberError as error:
            return Dropped(DAMAGED, where, str(error))
        except OSError as error:
            return Dropped(UNREADABLE, where, error.strerror or str(error))
        language = language_of(file.path.rpartition("/")[2], data[:200])
        if not language:
            pass_over(OTHER, file.path)
            return None
        if self.languages and language.lower() not in self.languages:
            pass_over("other language", file.path)
            return None
        if len(data) > MOST_FILE_BYTES:
            return Dropped("file too large", where, f"more than {MOST_FILE_BYTES >> 20} MiB")
        metadata = {"language": language, "licence": notes.licence(file.path), "path": file.path}
        return Record(where, (data, {key: value for key, value in metadata.items() if value}))


class _Notes:
    """What the .gitignore and the licence files of a tree say."""

    def __init__(self) -> None:
        self._rules = IgnoreRules()
        self._licences: dict[str, str] = {}
        self._top = ""
        """Where the tree begins in its repository."""

    @classmethod
    def of(cls, place: Path) -> "_Notes":
        """Those of a folder, of the repository that it lies in, or of an archive, as far as that is whole."""
        notes = cls()
        if place.is_dir():
            notes._above(place)
        with contextlib.suppress(DamagedFileError):
            for file in tree_files(place, lambda folder: folder_reason(folder.rpartition("/")[2]) is None, _nowhere):
                notes._take(file)
        return notes

    def ignores(self, path: str, *, folder: bool = False) -> bool:
        """Whether git would not look at it."""
        return self._rules.ignores(self._inside(path), folder=folder, below=self._top)

    def licence(self, path: str) -> str:
        """The licence told in the nearest folder above a file; "" where none is."""
        folder = self._inside(path)
        while folder:
            folder = folder.rpartition("/")[0]
            if folder in self._licences:
                return self._licences[folder]
        return ""

    def _inside(self, path: str) -> str:
        return f"{self._top}/{path}" if self._top else path

    def _above(self, place: Path) -> None:
        """What counts for a folder inside of a repository."""
        folder = place.resolve()
        repository = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
        if repository is None:
            return
        self._top = "" if folder == repository else folder.relative_to(repository).as_posix()
        with contextlib.suppress(OSError):
            self._rules.add("", _decoded((repository / ".git" / "info" / "exclude").read_bytes()))
        for each in reversed(folder.relative_to(repository).parents):
            for file in sorted((repository / each).iterdir()):
                if file.is_file() and (file.name == NAME or _is_licence(file.name)):
                    with open(file, "rb") as opened:
                        self._note("" if each == Path() else each.as_posix(), file.name, opened.read(_NOTE_BYTES))

    def _take(self, file: TreeFile) -> None:
        folder, _, name = file.path.rpartition("/")
        if name == NAME or _is_licence(name):
            with contextlib.suppress(OSError, DamagedMemberError):
                self._note(self._inside(folder) if folder else self._top, name, file.read(_NOTE_BYTES))

    def _note(self, folder: str, name: str, data: bytes) -> None:
        if name == NAME:
            self._rules.add(folder, _decoded(data))
        elif (told := licence_of(_decoded(data))) and len(self._licences) < _MOST_LICENCES:
            before = self._licences.get(folder, "").split(" AND ")
            self._licences[folder] = " AND ".join(sorted({*before, told} - {""}))


def _places(pattern: str) -> list[Path]:
    expanded = os.path.expanduser(pattern)
    if os.path.exists(expanded):
        found = [Path(expanded)]
    elif glob.has_magic(expanded):
        found = [Path(path) for path in sorted(glob.glob(expanded, recursive=True))]
    else:
        found = []
    if not found:
        raise DataError(f"there is no folder or archive {pattern!r}; give a checkout, an archive of one or a glob")
    places = [place for place in found if place.is_dir() or is_archive(place)]
    if not places:
        raise DataError(
            f"{pattern!r} is neither a folder nor a .tar, .tar.gz, .tar.zst or .zip archive; a single file of text is "
            f"given as text:{pattern}"
        )
    return places


def _is_licence(name: str) -> bool:
    begins = next((word for word in _LICENCE_NAMES if name.lower().startswith(word)), None)
    if begins is None or name[len(begins) :][:1] not in ("", ".", "-", "_"):
        return False
    return language_of(name) in ("", "Markdown", "reStructuredText")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _nowhere(reason: str, name: str) -> None:
    """The first time through, what is passed over is not told of."""
