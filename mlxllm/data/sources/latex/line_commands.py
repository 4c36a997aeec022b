"""Commands inside a line: accents, citations and references, footnotes, addresses."""

from collections.abc import Callable
from functools import partial

from mlxllm.data.sources.latex.page import Page
from mlxllm.data.sources.latex.symbols import ACCENTS, accented
from mlxllm.data.sources.latex.tokens import BLANK, words

_CITES = (
    "cite citep citet citealp citealt citeauthor citeyear citeyearpar Citet Citep textcite parencite autocite footcite "
    "Textcite Parencite Autocite supercite onlinecite citeA citeN newcite shortcite citenum fullcite Citeauthor smartcite"
).split()
_REFS = "ref eqref autoref cref Cref vref pageref nameref subref zcref labelcref".split()
_NO_SPACE_BEFORE = ("\\footnote", "\\footnotemark", "\\ ", "\\/", "\\xspace", "\\,", "\\par", "\\@")


class LineCommands:
    """What they do to a page."""

    def __init__(self, page: Page) -> None:
        """Nothing is done yet."""
        self._page = page
        self._footnotes = 0

    def commands(self) -> dict[str, Callable[[], None]]:
        """Each by its control sequence."""
        known: dict[str, Callable[[], None]] = {
            "\\\\": self._line_break,
            "\\newline": self._line_break,
            "\\footnote": self._footnote,
            "\\footnotetext": self._footnote_text,
            "\\footnotemark": self._footnote_mark,
            "\\xspace": self._xspace,
            "\\url": self._url,
            "\\nolinkurl": self._url,
            "\\label": self._label,
            "\\hspace": partial(self._space, "*m"),
            "\\hskip": partial(self._space, "d"),
            "\\ensuremath": self._ensure_math,
            "\\textsuperscript": partial(self._script, "^"),
            "\\textsubscript": partial(self._script, "_"),
            "\\enquote": self._quote,
            "\\texorpdfstring": self._first_of_two,
        }
        known |= {f"\\{cite}": partial(self._cite, f"\\{cite}") for cite in _CITES}
        known |= {f"\\{ref}": partial(self._ref, f"\\{ref}") for ref in _REFS}
        return known

    def accents(self) -> dict[str, Callable[[], None]]:
        """Accents; a paper may give their names, which are short, another meaning."""
        return {f"\\{accent}": partial(self._accent, accent) for accent in ACCENTS}

    def _xspace(self) -> None:
        """A blank, unless what follows ends the word (the xspace package's own list, shortened)."""
        token = self._page.gullet.peek()
        if token is not None and token[0] not in ".,'/?;:!~-)}{]\"*–—" and token not in _NO_SPACE_BEFORE:
            self._page.blocks.parts.append(BLANK)

    def _accent(self, accent: str) -> None:
        text = self._page.inline(self._page.gullet.argument())
        self._page.blocks.parts.append(accented(text, accent))

    def _cite(self, command: str) -> None:
        gullet = self._page.gullet
        command += "*" if gullet.starred() else ""
        first, second = gullet.optional(), gullet.optional()
        keys = words(gullet.argument())
        before, behind = (first, second) if second is not None else (None, first)
        command = self._page.definitions.citation_alias.get(command, command)
        self._page.blocks.parts.append(
            self._page.numbers.refer(command, keys, self._page.inline(before or ()), self._page.inline(behind or ()))
        )

    def _ref(self, command: str) -> None:
        self._page.gullet.starred()
        self._page.gullet.optional()
        self._page.blocks.parts.append(self._page.numbers.refer(command, words(self._page.gullet.argument())))

    def _label(self) -> None:
        self._page.numbers.label(words(self._page.gullet.argument()))

    def _footnote(self) -> None:
        self._page.gullet.optional()
        tokens = self._page.gullet.argument()
        if self._page.blocks.muted:
            return
        self._footnotes += 1
        number = self._footnotes
        text = self._page.inline(tokens)
        if text:
            self._page.blocks.parts.append(f"[^{number}]")
            self._page.blocks.waiting.append(f"[^{number}]: {text}")

    def _footnote_text(self) -> None:
        self._page.gullet.optional()
        if text := self._page.inline(self._page.gullet.argument()):
            self._page.blocks.waiting.append(f"[^{self._footnotes}]: {text}")

    def _footnote_mark(self) -> None:
        if self._page.gullet.optional() is None and not self._page.blocks.muted:
            self._footnotes += 1
            self._page.blocks.parts.append(f"[^{self._footnotes}]")

    def _space(self, kinds: str) -> None:
        self._page.pass_over(kinds)
        self._page.blocks.parts.append(BLANK)

    def _url(self) -> None:
        self._page.blocks.parts.append(words(self._page.gullet.argument()).replace("\\", ""))

    def _line_break(self) -> None:
        self._page.gullet.starred()
        self._page.gullet.optional()
        self._page.blocks.parts.append(BLANK if self._page.in_line else "\n")

    def _ensure_math(self) -> None:
        self._page.gullet.push([*self._page.gullet.argument(), "$"])
        self._page.formula("$")

    def _script(self, sign: str) -> None:
        self._page.blocks.parts.append(f"${sign}{{{self._page.inline(self._page.gullet.argument())}}}$")

    def _quote(self) -> None:
        self._page.gullet.push(["``", *self._page.gullet.argument(), "''"])

    def _first_of_two(self) -> None:
        first = self._page.gullet.argument()
        self._page.gullet.argument()
        self._page.gullet.push(first)
