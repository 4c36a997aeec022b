"""English and code from the Python that runs this: its language reference and its standard library's
docstrings.

Offline, and the same for a given version of Python: modules are parsed, never imported. About 2 MB.
"""

import ast
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from threading import Lock

from mlxllm.data.sources.base import Document, Problems, SourceKind, without_options
from mlxllm.errors import DataError

KIND = SourceKind(
    "pydocs",
    "the language reference and the docstrings of the Python that runs this, offline",
    "PSF licence (part of Python)",
    "pydocs",
    "technical English and a little code, when there is no network: about 2 MB",
    one_licence="PSF-2.0",
)
_SKIPPED_FOLDERS = {
    "__pycache__",
    "dist-packages",
    "encodings",  # a hundred generated modules with one and the same sentence
    "ensurepip",
    "idle_test",
    "idlelib",
    "lib-dynload",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "turtledemo",
}
_PARSING = Lock()
"""CPython 3.11 counts the depth of a syntax tree in a place that all threads share (python/cpython issue 106905)."""


@dataclass(frozen=True, slots=True)
class Docstring:
    """One documented module, class or function of the standard library."""

    module: str
    """Dotted name of the module."""
    name: str
    """Name within the module, such as `JSONEncoder.encode`; empty for the module itself."""
    signature: str
    """How it is called: `encode(self, o)`, `class JSONDecodeError(ValueError)`; empty for a module."""
    text: str
    """The docstring without its indentation."""


def parse(spec: str) -> "PydocsSource":
    """The source; it takes no options.

    Raises:
        ConfigError: there are some.
    """
    without_options(KIND.kind, spec)
    return PydocsSource()


class PydocsSource:
    """Topics of the language reference, modules with their functions, classes with their methods: a document
    each.

    Parsing takes some seconds, so documents are handed out as they are found, and kept for a second reading.
    """

    def __init__(self) -> None:
        """Nothing is read yet."""
        self.problems = Problems()
        self._documents: list[Document] = []

    @property
    def name(self) -> str:
        """`pydocs`."""
        return "pydocs"

    @property
    def spec(self) -> str:
        """`pydocs`."""
        return "pydocs"

    @property
    def single_text(self) -> bool:
        """Many documents."""
        return False

    def documents(self) -> Iterator[Document]:
        """Topics first, then modules by name.

        Raises:
            DataError: this Python was installed without the sources of its standard library.
        """
        if self._documents:
            yield from self._documents
            return
        found = []
        for document in self._read():
            found.append(document)
            yield document
        self._documents = found

    def _read(self) -> Iterator[Document]:
        self.problems.clear()
        for topic, text in _topics(self.problems):
            yield Document(text.strip("\n") + "\n", f"topic {topic}", self.name)
        found = False
        for group in _groups(docstrings(self.problems)):
            found = True
            head = group[0]
            yield Document(_render(group), f"{head.module}.{head.name}".rstrip("."), self.name)
        if not found:
            raise DataError(
                f"this Python has no sources of its standard library at {_library()}; "
                f"use another Python, or --source text:PATH"
            )


def docstrings(problems: Problems | None = None) -> Iterator[Docstring]:
    """All docstrings of the standard library, module by module, in the order of the source."""
    for path, module in _modules():
        try:
            with warnings.catch_warnings():
                # Old modules spell some backslashes in a way that newer parsers warn of.
                warnings.simplefilter("ignore")
                with _PARSING:
                    tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            if problems is not None:
                problems.drop("unreadable module", str(path), str(error))
            continue
        if text := ast.get_docstring(tree):
            yield Docstring(module, "", "", text)
        yield from _in_body(tree.body, module, "")


def _in_body(body: list[ast.stmt], module: str, prefix: str) -> Iterator[Docstring]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield Docstring(module, prefix + node.name, _signature(node), text)
            if isinstance(node, ast.ClassDef):
                yield from _in_body(node.body, module, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            # Definitions that depend on the platform: both sides are documentation.
            for branch in (node.body, node.orelse):
                yield from _in_body(branch, module, prefix)


def _signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    word = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{word}{node.name}({ast.unparse(node.args)}){returns}"


def _groups(found: Iterator[Docstring]) -> Iterator[list[Docstring]]:
    """A module with its functions, then each of its classes with what is in it."""
    module: str | None = None
    plain: list[Docstring] = []
    classes: dict[str, list[Docstring]] = {}
    for item in found:
        if item.module != module:
            yield from filter(None, (plain, *classes.values()))
            module, plain, classes = item.module, [], {}
        owner = item.name.partition(".")[0]
        if owner in classes or "." in item.name or item.signature.startswith("class "):
            classes.setdefault(owner, []).append(item)
        else:
            plain.append(item)
    yield from filter(None, (plain, *classes.values()))


def _render(group: list[Docstring]) -> str:
    head = group[0]
    owner = head.name.partition(".")[0] if "." in head.name or head.signature.startswith("class ") else ""
    parts = [f"{head.module}.{owner}" if owner else f"Module {head.module}"]
    for item in group:
        if not item.signature:
            parts.append(item.text)
            continue
        depth = item.name.count(".") if owner else 0
        parts.append(indent(f"{item.signature}\n{indent(item.text, '    ')}", "    " * depth))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _topics(problems: Problems) -> list[tuple[str, str]]:
    try:
        from pydoc_data.topics import topics  # half a megabyte, and absent from some minimal Pythons
    except ImportError:
        problems.mend("no language reference", "pydoc_data.topics", "not part of this Python")
        return []
    return sorted(topics.items())


def _modules() -> Iterator[tuple[Path, str]]:
    """Files and dotted names of the standard library's modules, by name."""
    library = _library()
    found = []
    for parent, folders, files in os.walk(library):
        folders[:] = [f for f in folders if f not in _SKIPPED_FOLDERS and not f.startswith(("config-", "."))]
        for file in files:
            if file.endswith(".py") and not file.startswith("_sysconfigdata"):
                path = Path(parent, file)
                parts = path.relative_to(library).with_suffix("").parts
                found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    for module, path in sorted(found):
        yield path, module


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))
