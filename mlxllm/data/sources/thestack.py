"""The Stack, version 1 (Kocetkov et al. 2022, arXiv:2211.15533): source code by language and licence.

Its columns are also those of its smaller and deduplicated editions. What is good code is for the recipe `code` to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlxllm.data.sources.base import Document, Dropped, Record, SourceKind
from mlxllm.data.sources.licences import PERMISSIVE_ONLY, LicenceChoice
from mlxllm.data.sources.options import is_local, names_option, split_options
from mlxllm.data.sources.table_files import HUB_OPTIONS, SUFFIXES, HubTables, Tables, find_tables
from mlxllm.data.sources.tables import TableSource
from mlxllm.errors import DataError

KIND = SourceKind(
    "thestack",
    "The Stack v1: parquet or JSON records in its columns that are here (thestack:FILES), or on the Hub by owner/name; "
    ",lang=python+rust by language, ,licence=permissive, any or mit+apache-2.0, ,shards=N",
    "permissive ones only unless another is asked for; each document carries its own",
    "thestack:bigcode/the-stack-smol,lang=python",
    "writing code, by the file",
    download="each file as it is read (some 300 MB; with a login that has accepted its terms)",
    recipe="code",
)
PLACE = "bigcode/the-stack-dedup"
LICENCES = ("max_stars_repo_licenses", "licenses", "license")
"""Columns of licences; the first that is there counts."""
_LANGUAGES = ("lang", "language")
_PATHS = (("max_stars_repo_name", "max_stars_repo_path"), ("repository_name", "path"), ("repo_name", "path"))
_NUMBERS = ("avg_line_length", "max_line_length", "alphanum_fraction")
_V2_COLUMNS = {"blob_id", "content_id", "src_encoding"}


def parse(spec: str) -> "TheStackSource":
    """The source that `thestack:[FILES or owner/name][,lang=...][,licence=...]` stands for.

    Raises:
        ConfigError: an option is not understood.
        DataError: there is no such path.
    """
    place, options = split_options(KIND.kind, spec, (*HUB_OPTIONS, "lang", "licence", "license"))
    if place and "/" not in place and not is_local(place, SUFFIXES):
        raise DataError(f"there is no file or folder {place!r}; give files, or owner/name of a data set on the Hub")
    languages = names_option(KIND.kind, options, "lang")
    tables = find_tables(KIND.kind, place or PLACE, options)
    if isinstance(tables, HubTables) and languages:
        tables = replace(tables, folders=frozenset(map(_folder, languages)))
    return TheStackSource(tables, options.get("column"), languages, LicenceChoice(KIND.kind, options, PERMISSIVE_ONLY))


class TheStackSource(TableSource):
    """A document a file."""

    def __init__(self, tables: Tables, column: str | None, languages: frozenset[str], licence: LicenceChoice) -> None:
        """Nothing is read yet.

        Args:
            tables: files of rows.
            column: of the text, where it is not `content`.
            languages: only these, in lower case; all where there are none.
            licence: which licences.
        """
        self.languages, self.licence = languages, licence
        super().__init__(KIND.kind, KIND.kind, tables, column)

    def refusal(self, columns: Sequence[str]) -> str | None:
        """The Stack v2 holds no text; and licences have to be there if they are to be chosen by."""
        if not set(columns) & {*self._wanted()} and set(columns) & _V2_COLUMNS:
            return (
                "is of The Stack v2, which holds no text: its rows name files (blob_id) that Software Heritage gives to "
                "those who have agreed with it; take version 1 (thestack:bigcode/the-stack-dedup), or fetch the files as "
                "the page of the data set shows and give parquet with a column 'content'"
            )
        if not self.licence.is_any and not set(columns) & {*LICENCES}:
            return (
                f"has no column of licences ({', '.join(LICENCES)}), so that it does not tell what may be used; add "
                f",licence=any if all of it may"
            )
        if self.languages and not set(columns) & {*_LANGUAGES}:
            return "has no column 'lang', so that files cannot be chosen by language; leave out lang="
        return None

    def other_columns(self, columns: Sequence[str]) -> list[str]:
        """Language, licences, path and the numbers that the filters ask for."""
        wanted = [*_LANGUAGES, *LICENCES, *_NUMBERS, *(name for pair in _PATHS for name in pair)]
        return [name for name in wanted if name in columns]

    def row(self, where: str, text: str, values: Mapping[str, Any]) -> Record | Document | Dropped:
        """The document, or why it is not wanted."""
        language = next((str(values[name]) for name in _LANGUAGES if values.get(name)), "")
        if self.languages and language.lower() not in self.languages:
            return Dropped("other language", where, language or "none is told", text[:500])
        licences = next((_list(values[name]) for name in LICENCES if name in values), [])
        if not self.licence.takes(licences):
            told = ", ".join(licences)
            return Dropped("other licence" if told else "no licence", where, told or "none is told", text[:500])
        metadata = {"language": language, "licence": ", ".join(sorted(set(licences))), "path": _path(values)}
        metadata |= {name: repr(values[name]) for name in _NUMBERS if isinstance(values.get(name), (int, float))}
        return Document(text, where, self.name, metadata={key: value for key, value in metadata.items() if value})

    def _options(self) -> dict[str, str | None]:
        licence = None if self.licence.written == PERMISSIVE_ONLY else self.licence.written
        return {"column": self.column, "lang": "+".join(sorted(self.languages)), "licence": licence}


def _folder(language: str) -> str:
    """How the folder of a language is called."""
    return language.replace(" ", "-").replace("#", "-sharp")


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [each for each in value if isinstance(each, str) and each] if isinstance(value, list) else []


def _path(values: Mapping[str, Any]) -> str:
    for repository, path in _PATHS:
        if values.get(path):
            return "/".join(str(values[name]) for name in (repository, path) if values.get(name))
    return ""
