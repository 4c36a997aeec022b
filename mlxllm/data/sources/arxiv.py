"""Papers from arXiv: titles and abstracts of the metadata snapshot, and whole papers from their LaTeX sources."""

import copy
import glob
import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mlxllm.data.sources.archives import is_tar, tar_members
from mlxllm.data.sources.base import Document, Dropped, Extent, Problems, Record, RecordSource, SourceKind
from mlxllm.data.sources.decoding import DAMAGED, MOST_LINE_BYTES, byte_lines
from mlxllm.data.sources.files import DamagedFileError, find_files, name_without_packing, read_chunks
from mlxllm.data.sources.latex import LatexError, read_paper
from mlxllm.data.sources.latex.symbols import plain_title
from mlxllm.data.sources.options import joined, split_options
from mlxllm.errors import ConfigError

KIND = SourceKind(
    "arxiv",
    "arXiv's metadata snapshot, LaTeX e-prints and bulk archives of them (.json; .gz, .tar.gz, .tex; .tar)",
    "metadata CC0; of each paper its author's, mostly arXiv's own, which lets nobody pass it on",
    "arxiv:snapshot.json,category=cs.LG+math",
    "science and mathematics: abstracts by field, or whole papers with their formulas in LaTeX",
    recipe="papers",
)
MOST_EPRINT_BYTES = 64 << 20
"""Of one e-print as it is distributed."""
OTHER_CATEGORY = "other category"
NO_CATEGORY = "category not known"
_FORM = "an arXiv record is a JSON object with 'id', 'title', 'abstract' and 'categories'"
_BULK_MEMBER = re.compile(r"(?:.*/)?\d{4}/[^/]+\.(?:gz|pdf)")
_CATEGORY = re.compile(r"[a-z]+(?:-[a-z]+)?(?:\.[A-Za-z-]+)?")
_ID = re.compile(r"(?<![\d.])(\d{4}\.\d{4,5})(v\d+)?(?!\d)|([a-z]+(?:-[a-z]+)?)/?(\d{7})(v\d+)?(?!\d)")
_TEXT_OF_METADATA, _TEXT_OF_EPRINT = 0.75, 0.3
_HEAD_BYTES = 512
_MOST_ABSTRACT_CHARS = 100_000


def parse(spec: str) -> "ArxivSource":
    """The source that `arxiv:SPEC` stands for: a path, and `,category=cs.LG+math` behind it.

    Raises:
        ConfigError: no path is named, or an option is not known.
        DataError: there is nothing at the path.
    """
    path, options = split_options(KIND.kind, spec, ("category",))
    if not path:
        raise ConfigError("source 'arxiv' needs a file, a folder or a glob: arxiv:PATH")
    return ArxivSource(path, options.get("category"))


class ArxivSource(RecordSource):
    """Documents from the files that a path, a folder or a glob stands for; what each file is shows in its content."""

    def __init__(self, pattern: str, category: str | None = None) -> None:
        """Look up the files; nothing is read yet.

        Args:
            pattern: a file, a folder (in which every file is looked at) or a glob.
            category: archives or categories, joined by +; `math` holds all of `math.AG`, `math.CO` ...

        Raises:
            ConfigError: `category` is not written like one.
            DataError: the path does not exist, or the folder is empty.
        """
        wanted = tuple(category.split("+")) if category is not None else ()
        for name in wanted:
            if not _CATEGORY.fullmatch(name):
                raise ConfigError(
                    f"source 'arxiv': {name!r} is no category; wanted names such as cs.LG or math, joined by + "
                    f"(https://arxiv.org/category_taxonomy)"
                )
        self.files = find_files(pattern, Problems(), ("",))
        """In the order in which they are read."""
        self._categories = wanted
        self._most_bytes: int | None = None
        parts = Path(os.path.abspath(os.path.expanduser(pattern))).parts
        name = "/".join(parts[-2:]) if glob.has_magic(pattern) else parts[-1]
        super().__init__(name, f"arxiv:{joined(pattern, {'category': category})}")

    def parts(self) -> Sequence[str]:
        """The files, sorted by path."""
        return [str(path) for path in self.files]

    def extent(self) -> Extent:
        """About how much text there is, by the sizes of the files; of a category nobody knows."""
        if self._categories:
            return Extent()
        size = 0.0
        for path in self.files:
            try:
                metadata = name_without_packing(path).lower().endswith((".json", ".jsonl"))
                size += path.stat().st_size * (_TEXT_OF_METADATA if metadata else _TEXT_OF_EPRINT)
            except OSError:
                continue
        return Extent(bytes=int(size))

    def head(self, most_bytes: int) -> "ArxivSource":
        """The same source for a preview: of each file of metadata only the beginning is read."""
        beginning = copy.copy(self)
        beginning.problems = Problems()
        beginning._most_bytes = most_bytes
        return beginning

    def records(self, part: str) -> Iterator[Record | Document | Dropped]:
        """The lines of a file of metadata as bytes, or the e-prints of a file as they are distributed."""
        path = Path(part)
        try:
            head, is_bulk = _looked_into(path)
            if head.lstrip().startswith(b"{"):
                yield from self._lines(path)
            elif is_bulk:
                yield from self._members(path)
            else:
                with open(path, "rb") as file:
                    yield self._eprint(part, path.name, iter(lambda: file.read(1 << 18), b""))
        except OSError as error:
            self.problems.mend("unreadable file", part, error.strerror or str(error))

    def extract(self, record: Record) -> Document | Dropped:
        """The text of one record: title and abstract, or the whole paper."""
        if isinstance(record.content, tuple):
            return self._paper(record.where, *record.content)
        return self._abstract(record.where, record.content)

    def _lines(self, path: Path) -> Iterator[Record | Dropped]:
        for number, line in byte_lines(path, self.problems, self._most_bytes):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            if len(line) >= MOST_LINE_BYTES:
                yield Dropped("line too long", where, f"more than {MOST_LINE_BYTES >> 20} MiB")
            elif self._categories and isinstance(found := _parsed(line), dict) and not self._is_wanted(found):
                self.problems.mend(OTHER_CATEGORY, where, str(found.get("categories", ""))[:80])
            else:
                yield Record(where, line)

    def _is_wanted(self, fields: dict[str, Any]) -> bool:
        categories = str(fields.get("categories") or "").split()
        return any(_belongs(category, wanted) for category in categories for wanted in self._categories)

    def _members(self, path: Path) -> Iterator[Record | Dropped]:
        """The e-prints of a bulk archive, in which each is a file of its own."""
        count = 0
        try:
            for name, member in tar_members(read_chunks(path)):
                if name.lower().endswith((".gz", ".pdf", ".tex")):
                    yield self._eprint(f"{path}:{name}", name, member)
                    count += 1
        except DamagedFileError as error:
            self.problems.mend(DAMAGED, str(path), f"{error}; the {count:,} e-prints before that were found")

    def _eprint(self, where: str, name: str, chunks: Iterator[bytes]) -> Record | Dropped:
        number = _id_of(name)
        if self._categories:
            archive = number.partition("/")[0] if "/" in number else ""
            if not archive:
                return Dropped(NO_CATEGORY, where, "the number of an e-print tells no category; leave out category=")
            if not any(_belongs(archive, wanted) for wanted in self._categories):
                return Dropped(OTHER_CATEGORY, where, archive)
        content = bytearray()
        for chunk in chunks:
            content += chunk
            if content.startswith(b"%PDF"):
                return Dropped("PDF only", where)
            if len(content) > MOST_EPRINT_BYTES:
                return Dropped("e-print too large", where, f"more than {MOST_EPRINT_BYTES >> 20} MiB")
        return Record(where, (number, bytes(content)))

    def _paper(self, where: str, number: str, content: bytes) -> Document | Dropped:
        try:
            title, text = read_paper(content)
        except LatexError as error:
            return Dropped(error.reason, where, error.detail)
        told = {"id": number, "url": _address(number), "title": title}
        return Document(text, where, self.name, metadata={key: value for key, value in told.items() if value})

    def _abstract(self, where: str, line: bytes) -> Document | Dropped:
        fields = _parsed(line)
        if isinstance(fields, str):
            return Dropped("bad JSON", where, fields)
        title, abstract = (fields or {}).get("title"), (fields or {}).get("abstract")
        if not isinstance(fields, dict) or not isinstance(title, str) or not isinstance(abstract, str):
            found = ", ".join(list(fields)[:8]) if isinstance(fields, dict) else type(fields).__name__
            return Dropped("no title or abstract", where, f"found {found}; {_FORM}")
        if len(title) + len(abstract) > _MOST_ABSTRACT_CHARS:
            return Dropped("abstract too long", where, f"{len(title) + len(abstract):,} characters", abstract[:500])
        title = plain_title(title)
        paragraphs = [plain_title(paragraph) for paragraph in _paragraphs(abstract)]
        text = "\n\n".join(filter(None, [title, *paragraphs]))
        if not any(paragraphs):
            return Dropped("no abstract", where, title[:80], text[:500])
        if any("\ud800" <= character <= "\udfff" for character in text):
            return Dropped("undecodable line", where, "half of a surrogate pair")
        number = str(fields.get("id") or "")
        categories = str(fields.get("categories") or "").split()
        told = {
            "id": number,
            "url": _address(number),
            "title": title,
            "category": categories[0] if categories else "",
            "licence": str(fields.get("license") or ""),
            "date": str(fields.get("update_date") or ""),
        }
        return Document(text, where, self.name, metadata={key: value for key, value in told.items() if value})


def _looked_into(path: Path) -> tuple[bytes, bool]:
    """The first bytes of what a file holds, unpacked, and whether it is an archive of e-prints."""
    head = b""
    try:
        chunks = read_chunks(path)
        for chunk in chunks:
            head += chunk
            if len(head) >= _HEAD_BYTES:
                break
        if is_tar(head):
            for name, _ in tar_members(chain((head,), chunks)):
                return head[:_HEAD_BYTES], bool(_BULK_MEMBER.fullmatch(name))
    except DamagedFileError:
        pass  # whoever reads it says so
    return head[:_HEAD_BYTES], False


def _parsed(line: bytes) -> dict[str, Any] | str | None:
    """An object of metadata; what is wrong with a line that is no JSON; None for other JSON."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return str(error) if isinstance(error, ValueError) else "nested too deeply"
    return found if isinstance(found, dict) else None


def _paragraphs(abstract: str) -> list[str]:
    """arXiv breaks lines at about 80 characters, and begins a paragraph with two blanks."""
    return re.split(r"\n\s*\n|\n {2,}(?=\S)", abstract.strip())


def _belongs(category: str, wanted: str) -> bool:
    return category == wanted or category.startswith(wanted + ".")


def _id_of(name: str) -> str:
    """The number of a paper in the name of its file: `1911.02782` or `hep-th/9901001`."""
    match = _ID.search(name)
    if match is None:
        return ""
    return match[1] if match[1] else f"{match[3]}/{match[4]}"


def _address(number: str) -> str:
    return f"https://arxiv.org/abs/{number}" if number else ""
