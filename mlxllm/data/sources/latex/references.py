r"""Numbers of sections, equations and theorems as LaTeX counts them, and what `\ref` and `\cite` show of them.

What is referred to may come later, so a reference is a mark in the text until the paper has been read to its end.
"""

import re
import string
from dataclasses import dataclass, field

_MARK = re.compile("\x01(\\d+)\x01")
_UNKNOWN = "??"
_AUTHOR_YEAR = re.compile(r"(?P<author>.+?)\s*(?:\((?P<year>[^()]*)\).*|,\s*(?P<comma>\(?\d{4}\w?\)?))")
_TEXTUAL = ("\\citet", "\\Citet", "\\textcite", "\\Textcite", "\\citeA", "\\newcite", "\\citealt", "\\citeN")
_AUTHOR_ONLY = ("\\citeauthor", "\\Citeauthor", "\\citename")
_YEAR_ONLY = ("\\citeyear", "\\citeyearpar", "\\shortcite", "\\citedate")
_BARE = ("\\citealp", "\\citealt", "\\citeyear", "\\onlinecite", "\\citenum")
"""Without brackets around."""


@dataclass(slots=True)
class _Counter:
    value: int = 0
    within: str = ""
    letters: bool = False


@dataclass(frozen=True, slots=True)
class _Reference:
    command: str
    keys: tuple[str, ...]
    before: str = ""
    behind: str = ""


class Numbers:
    """LaTeX's counters, the labels that hold on to their values, and marks for references to them."""

    def __init__(self) -> None:
        """As an article begins."""
        self._counters: dict[str, _Counter] = {
            "chapter": _Counter(),
            "section": _Counter(),
            "subsection": _Counter(within="section"),
            "subsubsection": _Counter(within="subsection"),
        }
        self._labels: dict[str, tuple[str, str]] = {}
        self._here = ("", "")
        self._references: list[_Reference] = []
        self.bibliography = Bibliography()

    def has_chapters(self) -> None:
        """A book: sections, equations, figures and tables count within chapters."""
        for name in ("section", "equation", "figure", "table"):
            self.count_within(name, "chapter")

    def count_within(self, name: str, outer: str) -> None:
        r"""`\numberwithin`."""
        if name != outer and not self._goes_round(name, outer):
            self._counter(name).within = outer

    def begin_appendix(self) -> None:
        r"""`\appendix`: letters from here on."""
        chapters = self._counters["chapter"].value > 0
        counter = self._counters["chapter" if chapters else "section"]
        counter.value, counter.letters = 0, True

    def step(self, name: str, kind: str) -> str:
        r"""The next number of a counter, which a `\label` then stands for.

        Args:
            name: of the counter.
            kind: as `\autoref` calls what is numbered ("Theorem").
        """
        self._counter(name).value += 1
        for inner, counter in self._counters.items():
            if counter.within and inner != name and self._is_within(inner, name):
                counter.value = 0
        number = self._shown(name)
        self._here = (kind, number)
        return number

    def step_section(self, name: str) -> str:
        """The next number of a heading."""
        counter = self._counters.get(name)
        appendix = name == "section" and counter is not None and counter.letters
        return self.step(name, "Appendix" if appendix else "Chapter" if name == "chapter" else "Section")

    def step_item(self, number: int) -> None:
        r"""An item of a numbered list begins, which a `\label` then stands for."""
        self._here = ("Item", str(number))

    def label(self, key: str, number: str | None = None) -> None:
        r"""`\label`: of what was numbered last, or of an equation with this number."""
        self._labels.setdefault(key, ("Equation", number) if number is not None else self._here)

    def refer(self, command: str, keys: str, before: str = "", behind: str = "") -> str:
        """The mark of a reference or citation; `resolved` puts the text there."""
        names = tuple(key for part in keys.split(",") if (key := part.strip()))
        self._references.append(_Reference(command, names, before, behind))
        if "cite" in command:
            self.bibliography.cited(names)
        return f"\x01{len(self._references) - 1}\x01"

    def resolved(self, text: str) -> str:
        """A text with all marks in it replaced."""
        return _MARK.sub(lambda match: self._text(self._references[int(match[1])]), text)

    def _text(self, reference: _Reference) -> str:
        if "cite" in reference.command:
            return self.bibliography.shown(
                reference.command, reference.keys, self.resolved(reference.before), self.resolved(reference.behind)
            )
        found = [self._labels.get(key, ("", "")) for key in reference.keys]
        numbers = [number or _UNKNOWN for _, number in found]
        command = reference.command.removeprefix("\\")
        if command == "eqref":
            return ", ".join(f"({number})" for number in numbers)
        if command in ("autoref", "cref", "Cref", "vref", "zcref") and found and found[0][0]:
            kind = found[0][0] if command != "cref" else found[0][0].lower()
            if kind.lower() == "equation":
                numbers = [f"({number})" for number in numbers]
            *first, last = numbers
            return f"{kind}{'s' if first else ''} {', '.join(first)}{' and ' if first else ''}{last}"
        return ", ".join(numbers)

    def _counter(self, name: str) -> _Counter:
        return self._counters.setdefault(name, _Counter())

    def _is_within(self, inner: str, outer: str) -> bool:
        while inner := self._counters[inner].within if inner in self._counters else "":
            if inner == outer:
                return True
        return False

    def _goes_round(self, name: str, outer: str) -> bool:
        return outer not in self._counters or self._is_within(outer, name)

    def _shown(self, name: str) -> str:
        counter = self._counter(name)
        number = str(counter.value)
        if counter.letters and 0 < counter.value <= 26:
            number = string.ascii_uppercase[counter.value - 1]
        outer = self._counters.get(counter.within)
        return f"{self._shown(counter.within)}.{number}" if outer is not None and outer.value else number


@dataclass(slots=True)
class Bibliography:
    """What the list of references tells of each key: its number, and its authors and year where natbib wrote them."""

    numeric: bool = False
    """Numbers are shown although authors are known."""
    natbib: bool = False
    """`\\cite` is `\\citet`, as natbib has it for authors and years."""
    entries: dict[str, str] = field(default_factory=dict)
    """What stands in brackets behind `\\bibitem`, by key, in order."""
    _cited: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, label: str) -> None:
        """An entry, in order."""
        self.entries.setdefault(key, " ".join(label.split()))

    def cited(self, keys: tuple[str, ...]) -> None:
        """Remember the order of citations: the numbers of a paper whose list is not there."""
        for key in keys:
            self._cited.setdefault(key, len(self._cited) + 1)

    def shown(self, command: str, keys: tuple[str, ...], before: str, behind: str) -> str:
        """A citation as the paper shows it: (Doe, 2019), Doe (2019) or [12]."""
        if not keys or "nocite" in command:
            return ""
        numbers = {key: number for number, key in enumerate(self.entries, 1)} or self._cited
        entries = [(self._author_year(key), numbers.get(key)) for key in keys]
        by_name = not self.numeric and all(author_year for author_year, _ in entries)
        command = command.rstrip("*")
        before, behind = f"{before} " if before else "", f", {behind}" if behind else ""
        if command in _AUTHOR_ONLY:
            return ", ".join(pair[0] if pair else f"[{number or _UNKNOWN}]" for pair, number in entries)
        if by_name:
            return self._names(command, [pair for pair, _ in entries if pair], before, behind)
        labels = [self._short(key, number) for key, (_, number) in zip(keys, entries, strict=True)]
        if command in _TEXTUAL and all(pair for pair, _ in entries):
            cited = [f"{pair[0]} [{label}]" for (pair, _), label in zip(entries, labels, strict=True) if pair]
            return before + ", ".join(cited) + behind
        inside = before + ", ".join(labels) + behind
        return inside if command in _BARE else f"[{inside}]"

    def _names(self, command: str, pairs: list[tuple[str, str]], before: str, behind: str) -> str:
        if command in _YEAR_ONLY:
            years = ", ".join(year for _, year in pairs)
            return years if command in _BARE else f"({before}{years}{behind})"
        if command in _TEXTUAL or (command == "\\cite" and self.natbib):
            cited = [
                f"{author} {year}" if command in _BARE else f"{author} ({before}{year}{behind})"
                for author, year in pairs
            ]
            return " and ".join(cited) if len(cited) < 3 else ", ".join(cited)
        inside = before + "; ".join(f"{author}, {year}" for author, year in pairs) + behind
        return inside if command in _BARE else f"({inside})"

    def _author_year(self, key: str) -> tuple[str, str] | None:
        match = _AUTHOR_YEAR.fullmatch(self.entries.get(key, ""))
        return (match["author"].strip(" ,"), (match["year"] or match["comma"] or "").strip("() ")) if match else None

    def _short(self, key: str, number: int | None) -> str:
        """The number, or a label such as Doe19."""
        label = self.entries.get(key, "")
        plain = label and len(label) <= 12 and "(" not in label and not self.numeric
        return label if plain else str(number) if number else _UNKNOWN
