r"""The files of a paper: `\input` and its kin are followed, packages of its own searched for macros."""

import posixpath
import re
from collections.abc import Callable, Mapping

from mlxllm.data.sources.latex.definitions import Definitions
from mlxllm.data.sources.latex.gullet import Gullet
from mlxllm.data.sources.latex.references import Numbers
from mlxllm.data.sources.latex.tokens import tokenize, words

_MOST_FILES = 2_000
"""Read for one paper, each as often as it is named."""
_BEGIN = re.compile(r"^[^%\n]*?\\begin\s*\{document\}", re.MULTILINE)
_END = re.compile(r"\\end\s*\{document\}")
_END_INPUT = re.compile(r"^(?P<kept>[^%\n]*?)\\endinput(?![a-zA-Z])", re.MULTILINE)
_HAS_CLASS = re.compile(r"^[^%\n]*\\document(?:class|style)", re.MULTILINE)
_BOOKS = re.compile(r"book|report|thesis|memoir|scrbook|scrreprt")
_NUMERIC_CLASSES = ("revtex4", "revtex4-1", "revtex4-2", "revtex")
_DEFINING = frozenset(
    "\\newcommand \\renewcommand \\providecommand \\DeclareRobustCommand \\DeclareMathOperator \\def \\gdef \\let "
    "\\newenvironment \\renewenvironment \\newtheorem \\spnewtheorem \\NewDocumentCommand".split()
)


class Inputs:
    """Finds the files that a paper names, among its own."""

    def __init__(self, gullet: Gullet, definitions: Definitions, numbers: Numbers, files: Mapping[str, str]) -> None:
        r"""From now on `gullet` follows `\input`."""
        self.has_chapters = False
        """The class is one of books."""
        self._gullet, self._definitions, self._numbers, self._files = gullet, definitions, numbers, files
        self._folder = ""
        self._tokens: dict[str, list[str]] = {}
        self._read = 0
        followed: dict[str, Callable[[], None]] = {
            "\\input": self._input,
            "\\include": self._input,
            "\\subfile": self._input,
            "\\subfileinclude": self._input,
            "\\@input": self._input,
            "\\import": self._import,
            "\\subimport": self._import,
            "\\InputIfFileExists": self._input_if_exists,
            "\\IfFileExists": self._if_exists,
            "\\usepackage": self._packages,
            "\\RequirePackage": self._packages,
            "\\documentclass": self._class,
            "\\documentstyle": self._class,
        }
        gullet.executed |= followed

    def read(self, path: str, *, whole: bool = False) -> None:
        """A file is read next; of one that is a document by itself only what it adds to another, unless `whole`."""
        self._read += 1
        if path in self._gullet.open_files or self._read > _MOST_FILES:
            return
        if whole:
            self._folder = posixpath.dirname(path)
        if path not in self._tokens:
            self._tokens[path] = tokenize(self._text_of(path, whole=whole))
        self._gullet.push_file(path, self._tokens[path])

    def _text_of(self, path: str, *, whole: bool) -> str:
        text = self._files[path]
        if not whole and _HAS_CLASS.search(text) and (begin := _BEGIN.search(text)):
            end = _END.search(text, begin.end())
            text = text[begin.end() : end.start() if end else len(text)]
        if ended := _END_INPUT.search(text):
            text = text[: ended.end("kept")]
        return text

    def bibliography(self, main: str) -> str | None:
        """The path of the list of references that BibTeX made: that of the main file, or else the first."""
        own = posixpath.splitext(main)[0] + ".bbl"
        if own in self._files:
            return own
        return next((path for path in sorted(self._files) if path.lower().endswith(".bbl")), None)

    def _input(self) -> None:
        gullet = self._gullet
        gullet.skip_blanks()
        if gullet.peek() == "{":
            name = words(gullet.argument())
        else:  # TeX's own \input takes a name that ends at a blank
            parts = []
            while (token := gullet.peek()) is not None and token[0] not in " \\{}[]$&\0":
                parts.append(token)
                gullet.pop()
            name = "".join(parts)
        if path := self._find(name, (".tex", "", ".ltx", ".TEX", ".sty")):
            self.read(path)

    def _import(self) -> None:
        self._gullet.starred()
        folder, name = words(self._gullet.argument()), words(self._gullet.argument())
        if path := self._find(posixpath.join(folder, name), (".tex", "")):
            self.read(path)

    def _input_if_exists(self) -> None:
        path = self._find(words(self._gullet.argument()), ("", ".tex"))
        first, second = self._gullet.argument(), self._gullet.argument()
        self._gullet.push(first if path else second)
        if path:
            self.read(path)

    def _if_exists(self) -> None:
        path = self._find(words(self._gullet.argument()), ("", ".tex"))
        first, second = self._gullet.argument(), self._gullet.argument()
        self._gullet.push(first if path else second)

    def _packages(self) -> None:
        options = words(self._gullet.optional() or ())
        names = [name.strip() for name in words(self._gullet.argument()).split(",")]
        self._gullet.optional()
        bibliography = self._numbers.bibliography
        for name in names:
            if name == "natbib":
                bibliography.natbib = True
                bibliography.numeric |= any(
                    word in options.replace(" ", "").split(",") for word in ("numbers", "super")
                )
            if path := self._find(name, (".sty",)):
                self._definitions_of(path)

    def _class(self) -> None:
        options = words(self._gullet.optional() or ())
        name = words(self._gullet.argument())
        if _BOOKS.search(name) and not self.has_chapters:
            self.has_chapters = any("\\chapter" in text for text in self._files.values())
            if self.has_chapters:
                self._numbers.has_chapters()
        self._numbers.bibliography.numeric |= name in _NUMERIC_CLASSES and "author-year" not in options
        for wanted in (f"{name}.cls", *(f"{option.strip()}.sty" for option in options.split(","))):
            if path := self._find(wanted, ("",)):
                self._definitions_of(path)

    def _definitions_of(self, path: str) -> None:
        """Plain macros of a package or class of the paper's own; what it sets up for printing is passed over."""
        self._read += 1
        gullet = self._gullet
        if path in gullet.open_files or self._read > _MOST_FILES:
            return
        gullet.open_files.add(path)
        gullet.open(tokenize(self._files[path], at_is_letter=True))
        self._definitions.plain_only += 1
        while (token := gullet.pop()) is not None:
            if token in _DEFINING or token == "\\RequirePackage":
                gullet.executed[token]()
            elif token == "{":
                gullet.push([token])
                gullet.argument()
        self._definitions.plain_only -= 1
        gullet.close()
        gullet.open_files.discard(path)

    def _find(self, name: str, suffixes: tuple[str, ...]) -> str | None:
        """The path of a file by the name that the paper gives it; None for one that is not the paper's own."""
        name = name.strip().strip('"')
        if not name:
            return None
        for folder in dict.fromkeys((self._folder, "")):
            path = posixpath.normpath(posixpath.join(folder, name.lstrip("/")))
            for suffix in suffixes:
                if path + suffix in self._files:
                    return path + suffix
        return None
