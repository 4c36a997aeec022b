r"""`\newcommand`, `\def`, `\let`, `\newenvironment`, `\newtheorem` and their kin: what names mean from here on."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from mlxllm.data.sources.latex.gullet import Gullet, Macro
from mlxllm.data.sources.latex.tokens import BLANK, is_word, words

_MOST_BODY = 50_000
"""Tokens of one definition."""
_PREFIXES = ("\\global", "\\long", "\\outer", "\\protected", "\\relax", "\\immediate")
_XPARSE = {"m": "m", "v": "m", "o": "o", "O": "O", "d": "o", "D": "O", "s": "s", "t": "s", "r": "m", "R": "m"}


@dataclass(frozen=True, slots=True)
class Environment:
    r"""What `\newenvironment` made."""

    begin: Macro
    end: Sequence[str]


@dataclass(frozen=True, slots=True)
class Theorem:
    r"""What `\newtheorem` made."""

    title: str
    """"Lemma"."""
    counter: str
    """Name of the counter that numbers it; empty if it has no number."""
    within: str
    """The counter whose number stands in front, which sets this one back."""


class Definitions:
    """Executes definitions, and keeps those that are not macros."""

    def __init__(self, gullet: Gullet) -> None:
        """From now on `gullet` executes definitions."""
        self.protected: Collection[str] = ()
        """Control sequences that shape the text (`\\section`), which a paper cannot change."""
        self.protected_from_packages: Collection[str] = ()
        """All that are known, which a paper can change, but not one of its packages."""
        self.environments: dict[str, Environment] = {}
        self.theorems: dict[str, Theorem] = {}
        self.dropped_environments: set[str] = set()
        self.citation_alias: dict[str, str] = {}
        """`\\cite` may be made to mean `\\citep`."""
        self.plain_only = 0
        """Above 0 a definition that uses what only packages may use (names with @) is left out."""
        self._gullet = gullet
        done: dict[str, Callable[[], None]] = {
            "\\let": self._let,
            "\\futurelet": self._let,
            "\\DeclareMathOperator": self._operator,
            "\\newtheorem": self._theorem,
            "\\spnewtheorem": self._theorem,
            "\\declaretheorem": self._declared_theorem,
            "\\excludecomment": lambda: self.dropped_environments.add(words(gullet.argument())),
            "\\includecomment": lambda: self.dropped_environments.discard(words(gullet.argument())),
        }
        done |= dict.fromkeys(("\\def", "\\gdef"), self._def)
        done |= dict.fromkeys(("\\edef", "\\xdef"), lambda: self._def(expand=True))
        done |= dict.fromkeys(("\\newcommand", "\\renewcommand", "\\DeclareRobustCommand"), self._command)
        done |= dict.fromkeys(("\\providecommand",), lambda: self._command(keep=True))
        done |= dict.fromkeys(("\\newenvironment", "\\renewenvironment"), self._environment)
        kinds = "New", "Renew", "Provide", "Declare"
        done |= dict.fromkeys((f"\\{kind}DocumentCommand" for kind in kinds), self._document_command)
        done |= dict.fromkeys(_PREFIXES, lambda: None)
        gullet.executed |= done

    def define(self, name: str, macro: Macro) -> None:
        """The meaning of a control sequence, unless it is one that a paper cannot change."""
        if name[0] != "\\" or len(macro.body) > _MOST_BODY:
            return
        if name in self.protected:
            plain = [token for token in macro.body if token not in (BLANK, "{", "}")]
            if len(plain) == 1 and "cite" in name and "cite" in plain[0]:
                self.citation_alias[name] = plain[0]
            return
        if self.plain_only and name in self.protected_from_packages:
            return
        if self.plain_only and ("@" in name or any(token[0] == "\\" and "@" in token for token in macro.body)):
            return
        self._gullet.macros[name] = macro

    def name(self) -> str:
        """The control sequence that is to be defined, in braces or not."""
        tokens = [token for token in self._gullet.argument() if token != BLANK]
        return tokens[0] if tokens else "-"

    def _command(self, *, keep: bool = False) -> None:
        gullet = self._gullet
        gullet.starred()
        name = self.name()
        count, default = _number(gullet.optional()), gullet.optional()
        body = gullet.argument()
        if not (keep and name in gullet.macros):
            self.define(name, Macro(body, count, default))

    def _def(self, *, expand: bool = False) -> None:
        gullet = self._gullet
        name = gullet.pop() or "-"
        delimiters: list[list[str]] = [[]]
        while (token := gullet.peek()) is not None and token != "{":
            gullet.pop()
            if token[0] == "#" and len(token) == 2:
                delimiters.append([])
            elif len(token) > 1 and token[0] not in "\\\0#":
                delimiters[-1] += token
            else:
                delimiters[-1].append(token)
            if len(delimiters[-1]) > 20 or len(delimiters) > 10:
                return  # not a definition as TeX has them
        body = gullet.argument()
        if expand:
            body = gullet.expanded(body)
        if any(delimiters):
            self.define(name, Macro(body, len(delimiters) - 1, delimiters=delimiters))
        else:
            self.define(name, Macro(body, len(delimiters) - 1))

    def _let(self) -> None:
        gullet = self._gullet
        name = gullet.pop() or "-"
        gullet.skip_blanks()
        if (gullet.peek() or "").startswith("="):
            rest = (gullet.pop() or "")[1:]
            if rest:
                gullet.push([rest])
            gullet.skip_blanks()
        meaning = gullet.argument()
        if not meaning:
            return
        known = gullet.macros.get(meaning[0])
        self.define(name, known or Macro(meaning[:1], final=True))

    def _operator(self) -> None:
        gullet = self._gullet
        star = "*" if gullet.starred() else ""
        name = self.name()
        self.define(name, Macro(["\\operatorname", *star, "{", *gullet.argument(), "}"]))

    def _document_command(self) -> None:
        gullet = self._gullet
        name, kinds = self.name(), ""
        for token in gullet.argument():
            kinds += "".join(_XPARSE.get(letter, "") for letter in token if token[0] not in "\\\0")
        self.define(name, Macro(gullet.argument(), len(kinds), kinds=kinds))

    def _environment(self) -> None:
        gullet = self._gullet
        gullet.starred()
        name = words(gullet.argument())
        count, default = _number(gullet.optional()), gullet.optional()
        begin, end = gullet.argument(), gullet.argument()
        if max(len(begin), len(end)) <= _MOST_BODY:
            self.environments[name] = Environment(Macro(begin, count, default), end)

    def _theorem(self) -> None:
        gullet = self._gullet
        numbered = not gullet.starred()
        name = words(gullet.argument())
        shared = gullet.optional()
        title = words(token for token in gullet.argument() if not is_word(token))
        within = gullet.optional()
        if (gullet.peek()) == "{":  # llncs: the fonts of title and text
            gullet.argument()
            gullet.argument()
        counter = words(shared) if shared else name
        self.theorems[name] = Theorem(title, counter if numbered else "", words(within or ()))

    def _declared_theorem(self) -> None:
        gullet = self._gullet
        options = dict(
            part.split("=", 1)
            for part in words(gullet.optional() or ()).replace(" ", "").split(",")
            if part.count("=") == 1
        )
        name = words(gullet.argument())
        options |= dict(
            part.split("=", 1)
            for part in words(gullet.optional() or ()).replace(" ", "").split(",")
            if part.count("=") == 1
        )
        counter = options.get("sibling", options.get("numberlike", options.get("sharenumber", name)))
        within = options.get("parent", options.get("numberwithin", options.get("within", "")))
        numbered = options.get("numbered", "yes") != "no"
        title = options.get("name", options.get("title", name.capitalize()))
        self.theorems[name] = Theorem(title, counter if numbered else "", within)


def _number(tokens: Sequence[str] | None) -> int:
    text = words(tokens or ())
    return int(text) if text in tuple("123456789") else 0
