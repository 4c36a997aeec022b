"""Biomedical papers: PubMed's citations with their abstracts, and full articles of PubMed Central.

Files are read newest first, so that of a citation that stands in several of them the latest version is the one that
counts, and none that a later file deletes. Finding a record is cheap and done in order; its XML is parsed by `extract`.
"""

import copy
import glob
import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from mlxllm.data.sources.archives import is_tar, tar_members
from mlxllm.data.sources.base import Document, Dropped, Extent, Problems, Record, RecordSource, SourceKind
from mlxllm.data.sources.biomedical.jats import article_document
from mlxllm.data.sources.biomedical.medline import citation_document
from mlxllm.data.sources.biomedical.revisions import MOST_NUMBER, Versions, newest_first
from mlxllm.data.sources.biomedical.xml_records import CUT_OFF, Element, NoXmlError, OtherContentError, XmlRecords
from mlxllm.data.sources.biomedical.xml_text import BadXmlError, local, parse_xml
from mlxllm.data.sources.decoding import DAMAGED
from mlxllm.data.sources.files import DamagedFileError, find_files, name_without_packing, read_chunks
from mlxllm.data.sources.options import joined, split_options
from mlxllm.errors import ConfigError

KIND = SourceKind(
    "pubmed",
    "PubMed's baseline and update files, PubMed Central's articles (JATS .xml, .nxml, .tar.gz): a file, folder or glob",
    "abstracts: NLM's terms, many are their publishers'; articles: each its own, CC BY most of all",
    "pubmed:pubmed25n0001.xml.gz",
    "biomedical English: abstracts (30,000 to a baseline file) and whole papers",
    recipe="papers",
)
SUFFIXES = (".xml", ".nxml", ".tar", ".tgz")
BAD_XML = "bad XML"
OTHER_CONTENT = "not PubMed or JATS"
NO_RECORDS = "file without articles"
UNREADABLE = "unreadable file"
_ABSTRACTS = ("required", "any")
_CITATIONS = frozenset(("PubmedArticle", "PubmedBookArticle", "MedlineCitation"))
_DELETIONS = frozenset(("DeleteCitation", "DeleteDocument"))
_ARTICLE = "article"
_RECORDS = _CITATIONS | _DELETIONS | {_ARTICLE}
_ROOTS = frozenset(
    "PubmedArticleSet PubmedBookArticleSet MedlineCitationSet pmc-articleset nlm-articleset OAI-PMH".split()
)
_READ = "read are PubmedArticleSet, MedlineCitationSet, article, pmc-articleset and OAI-PMH"
_PMID = re.compile(rb"<PMID(?:\s+Version\s*=\s*[\"'](\d{1,4})[^>]*)?\s*>\s*(\d{1,9})\s*<")
_PMC = re.compile(rb"<article-id()[^>]*pub-id-type\s*=\s*[\"']pmc(?:id)?[\"'][^>]*>\s*(?:PMC)?(\d{1,9})\b")
_FRONT_BYTES = 1 << 16
_TEXT_OF_PACKED, _TEXT_OF_PLAIN = 1.3, 0.3


def parse(spec: str) -> "PubmedSource":
    """The source that `pubmed:SPEC` stands for: a path, and `,abstracts=any` behind it for titles alone.

    Raises:
        ConfigError: no path is named, or an option is not known.
        DataError: there is nothing at the path.
    """
    path, options = split_options(KIND.kind, spec, ("abstracts",))
    if not path:
        raise ConfigError("source 'pubmed' needs a file, a folder or a glob: pubmed:PATH")
    return PubmedSource(path, options.get("abstracts", _ABSTRACTS[0]))


class PubmedSource(RecordSource):
    """Citations and articles of the files that a path, a folder or a glob stands for."""

    reads_in_order = True

    def __init__(self, pattern: str, abstracts: str = _ABSTRACTS[0]) -> None:
        """Look up the files; nothing is read yet.

        Args:
            pattern: a file, a folder or a glob.
            abstracts: `required`, or `any` if a citation of PubMed may consist of its title alone.

        Raises:
            ConfigError: `abstracts` is something else.
            DataError: the path does not exist, or a folder holds no XML.
        """
        if abstracts not in _ABSTRACTS:
            raise ConfigError(f"source 'pubmed': abstracts is {abstracts!r}; wanted {' or '.join(_ABSTRACTS)}")
        found = Problems()
        self.files = newest_first(find_files(pattern, found, SUFFIXES))
        """In the order in which they are read."""
        self._found, self._any = found, abstracts == "any"
        self._most_bytes: int | None = None
        self._citations, self._articles = Versions(), Versions()
        option = {"abstracts": abstracts if self._any else None}
        parts = Path(os.path.abspath(os.path.expanduser(pattern))).parts
        name = "/".join(parts[-2:]) if glob.has_magic(pattern) else parts[-1]
        super().__init__(name, f"pubmed:{joined(pattern, option)}")

    def parts(self) -> Sequence[str]:
        """The files, newest first."""
        return [str(path) for path in self.files]

    def extent(self) -> Extent:
        """About how much text there is, by the sizes of the files."""
        size = 0.0
        for path in self.files:
            try:
                packed = name_without_packing(path) != path.name or path.suffix == ".tgz"
                size += path.stat().st_size * (_TEXT_OF_PACKED if packed else _TEXT_OF_PLAIN)
            except OSError:
                continue
        return Extent(bytes=int(size))

    def head(self, most_bytes: int) -> "PubmedSource":
        """The same source for a preview: of each file only the beginning is read."""
        beginning = copy.copy(self)
        beginning.problems = Problems()
        beginning._citations, beginning._articles = Versions(), Versions()
        beginning._most_bytes = most_bytes
        return beginning

    def records(self, part: str) -> Iterator[Record | Document | Dropped]:
        """The citations and articles of one file; those that are out of date or cut off as Dropped."""
        if part == str(self.files[0]):
            self._begin()
        self._look_over(part)
        for where, number, version, place, file, found in self._numbered(part, self.problems):
            if found.name in _DELETIONS:
                continue
            versions = self._articles if found.name == _ARTICLE else self._citations
            if found.problem:
                yield Dropped(found.problem, where, f"from byte {found.byte:,} of the unpacked file")
            elif number is not None and (reason := versions.out_of_date(number, version, place)):
                yield Dropped(reason, where)
            else:
                yield Record(where, file.wrapped(found.xml))

    def extract(self, record: Record) -> Document | Dropped:
        """The text of one citation or article."""
        try:
            element = parse_xml(record.content)[0]
        except BadXmlError as error:
            return Dropped(BAD_XML, record.where, str(error))
        if local(element) == _ARTICLE:
            return article_document(element, record.where, self.name)
        return citation_document(element, record.where, self.name, any_abstract=self._any)

    def _begin(self) -> None:
        self._citations, self._articles = Versions(), Versions()
        self.problems.mended.update(self._found.mended)
        for reason, places in self._found.examples.items():
            self.problems.examples[reason] = list(places)

    def _look_over(self, part: str) -> None:
        """Find what a file of citations deletes and repeats; a file of articles does neither."""
        self._citations.begin_file()
        for _, number, version, place, _, found in self._numbered(part, Problems()):
            if found.name == _ARTICLE:
                return
            if found.name in _DELETIONS:
                for _, deleted in _PMID.findall(found.xml):
                    if int(deleted) < MOST_NUMBER:
                        self._citations.delete(int(deleted))
            elif number is not None:
                self._citations.look_over(number, version, place)

    def _numbered(
        self, part: str, problems: Problems
    ) -> Iterator[tuple[str, int | None, int, int, XmlRecords, Element]]:
        """Each record of a file: where it lies, its number and version, its place, the XML file that it is in, and it."""
        for place, (inside, file, found) in enumerate(self._elements(part, problems)):
            article = found.name == _ARTICLE
            match = _PMC.search(found.xml, 0, _FRONT_BYTES) if article else _PMID.search(found.xml)
            if match is None or (number := int(match[2])) >= MOST_NUMBER:
                yield f"{inside}#{place + 1}", None, 1, place, file, found
            else:
                kind = "PMC" if article else "PMID"
                yield f"{inside}#{kind}{number}", number, int(match[1] or 1), place, file, found

    def _elements(self, part: str, problems: Problems) -> Iterator[tuple[str, XmlRecords, Element]]:
        """The records of one file with where they are in it; what is wrong with the file is counted in `problems`."""
        opened = _Opened(Path(part), self._most_bytes)
        count, damage = 0, ""
        try:
            for where, chunks in opened.xml_files():
                file = XmlRecords(chunks, _RECORDS, _ROOTS)
                try:
                    for found in file:
                        count += 1
                        if not (found.problem == CUT_OFF and opened.cut):
                            yield where, file, found
                except OtherContentError as error:
                    # An archive of articles holds their pictures, too.
                    if not (opened.is_archive and isinstance(error, NoXmlError)):
                        count += 1
                        problems.mend(OTHER_CONTENT, where, f"found {error}; {_READ}")
                damage = damage or file.damage
        except DamagedFileError as error:
            damage = damage or str(error)
        except OSError as error:
            problems.mend(UNREADABLE, part, error.strerror or str(error))
            return
        if damage and not opened.cut:
            problems.mend(DAMAGED, part, f"{damage}; {f'{count:,} records' if count else 'nothing'} found before that")
        elif not count and not opened.cut:
            problems.mend(NO_RECORDS, part)


class _Opened:
    """One file, or the files in one archive, up to a number of bytes."""

    def __init__(self, path: Path, most_bytes: int | None) -> None:
        self.cut = False
        """Whether more was there than was asked for."""
        self.is_archive = False
        self._path, self._most_bytes = path, most_bytes

    def xml_files(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Where each file lies, and its bytes.

        Raises:
            DamagedFileError, OSError: see `read_chunks` and `tar_members`.
        """
        chunks, head = self._chunks(), b""
        for chunk in chunks:
            head += chunk
            if len(head) >= 512:
                break
        whole = chain((head,), chunks)
        self.is_archive = is_tar(head)
        if self.is_archive:
            for name, member in tar_members(whole):
                yield f"{self._path}:{name}", member
        else:
            yield str(self._path), whole

    def _chunks(self) -> Iterator[bytes]:
        size = 0
        for chunk in read_chunks(self._path):
            if self._most_bytes is not None and size >= self._most_bytes:
                self.cut = True
                return
            size += len(chunk)
            yield chunk
