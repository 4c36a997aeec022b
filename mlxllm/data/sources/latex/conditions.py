r"""`\if...`, `\else`, `\fi` and their LaTeX kin, as far as they can be decided without typesetting.

What cannot be decided (a width, the kind of output) counts as false: what then stands is the ordinary case in most
papers, for a test asks for something special.
"""

from collections.abc import Callable
from functools import partial

from mlxllm.data.sources.latex.definitions import Definitions
from mlxllm.data.sources.latex.gullet import Gullet, Macro
from mlxllm.data.sources.latex.tokens import BLANK, words

_UNDECIDED = (
    "num dim odd vmode hmode inner hbox vbox void eof case cat csname fontchar pdf pdfoutput luatex xetex PDFTeX LuaTeX "
    "XeTeX pdftex @twocolumn @twoside @compatibility @filesw"
).split()


class Conditions:
    """Decides conditions, and passes over what is not to be read."""

    def __init__(self, gullet: Gullet, definitions: Definitions) -> None:
        """From now on `gullet` decides conditions."""
        self._gullet, self._definitions = gullet, definitions
        self.switches: dict[str, bool] = {}
        """Made by `\\newif`, `\\newtoggle` and `\\newbool`."""
        decided: dict[str, Callable[[], bool]] = {
            "\\iftrue": lambda: True,
            "\\iffalse": lambda: False,
            "\\ifx": self._same_meaning,
            "\\if": self._same,
            "\\ifdefined": self._is_defined,
            "\\ifmmode": lambda: gullet.in_math,
        }
        for name in _UNDECIDED:
            decided[f"\\if{name}"] = lambda: False
        for name, decide in decided.items():
            gullet.executed[name] = partial(self._decide, decide)
        self._ifs = set(decided)
        choices: dict[str, Callable[[], bool]] = {
            "\\ifthenelse": self._test,
            "\\@ifundefined": lambda: f"\\{words(gullet.argument())}" not in gullet.macros,
            "\\iftoggle": lambda: self.switches.get(words(gullet.argument()), False),
            "\\ifbool": lambda: self.switches.get(words(gullet.argument()), False),
            "\\@ifstar": gullet.starred,
            "\\@ifnextchar": self._is_next,
            "\\@ifpackageloaded": lambda: bool(gullet.argument()) and False,
            "\\@ifclassloaded": lambda: bool(gullet.argument()) and False,
            "\\ifdef": self._is_defined,
        }
        for name, decide in choices.items():
            gullet.executed[name] = partial(self._choose, decide)
        gullet.executed |= {
            "\\fi": lambda: None,
            "\\else": lambda: self._pass_over(stop_at_else=False),
            "\\or": lambda: self._pass_over(stop_at_else=False),
            "\\unless": lambda: None,
            "\\expandafter": self._expand_after,
            "\\csname": self._named,
            "\\@namedef": self._define_named,
            "\\newif": self._new_switch,
            "\\@nameuse": lambda: gullet.push([f"\\{words(gullet.argument())}"]),
        }

        for name in ("\\newtoggle", "\\newbool", "\\providetoggle", "\\providebool"):
            gullet.executed[name] = lambda: self._set(words(gullet.argument()), False)
        for name, value in (("true", True), ("false", False)):
            for kind in ("toggle", "bool"):
                gullet.executed[f"\\{kind}{name}"] = partial(self._set_named, value)

    def _new_switch(self) -> None:
        name = self._definitions.name()
        if name.startswith("\\if"):
            switch = name[3:]
            self.switches.setdefault(switch, False)
            executed = self._gullet.executed
            executed[name] = partial(self._decide, lambda: self.switches[switch])
            executed[f"\\{switch}true"] = lambda: self._set(switch, True)
            executed[f"\\{switch}false"] = lambda: self._set(switch, False)

    def _set(self, name: str, value: bool) -> None:
        self.switches[name] = value

    def _set_named(self, value: bool) -> None:
        self._set(words(self._gullet.argument()), value)

    def _decide(self, decide: Callable[[], bool]) -> None:
        if not decide():
            self._pass_over(stop_at_else=True)

    def _pass_over(self, *, stop_at_else: bool) -> None:
        r"""To the \fi or \else of this condition, over whole conditions in between."""
        gullet = self._gullet
        depth = 0
        while (token := gullet.pop()) is not None:
            if token[:3] == "\\if" and (token in self._ifs or token[3:] in self.switches):
                depth += 1
            elif token == "\\fi":
                if not depth:
                    return
                depth -= 1
            elif token == "\\else" and not depth and stop_at_else:
                return
            elif token == "\\end" and gullet.peek() == "{":
                # Nothing passes the end of the document, were it only that a \fi is in a file that is not here.
                name = gullet.argument()
                gullet.push(["{", *name, "}"])
                if words(name) == "document":
                    gullet.push([token])
                    return

    def _choose(self, decide: Callable[[], bool]) -> None:
        value = decide()
        first, second = self._gullet.argument(), self._gullet.argument()
        self._gullet.push(first if value else second)

    def _same_meaning(self) -> bool:
        first, second = self._gullet.pop(), self._gullet.pop()
        macros = self._gullet.macros
        known_first, known_second = macros.get(first or ""), macros.get(second or "")
        if known_first is None and known_second is None:
            unknown = all(token not in self._definitions.protected_from_packages for token in (first, second))
            return first == second or (unknown and (first in _NEVER_DEFINED or second in _NEVER_DEFINED))
        return known_first == known_second

    def _same(self) -> bool:
        gullet = self._gullet
        first, second = gullet.argument(), gullet.argument()
        return first == second

    def _is_defined(self) -> bool:
        return (self._gullet.argument() or [""])[0] in self._gullet.macros

    def _is_next(self) -> bool:
        wanted = self._gullet.argument()
        self._gullet.skip_blanks()
        # What is compared with stands behind the two branches.
        branches = self._gullet.argument(), self._gullet.argument()
        self._gullet.skip_blanks()
        found = self._gullet.peek()
        self._gullet.push(["{", *branches[0], "}", "{", *branches[1], "}"])
        return bool(wanted) and found == wanted[0]

    def _test(self) -> bool:
        tokens = [token for token in self._gullet.argument() if token != BLANK]
        negative = tokens[:1] == ["\\not"] or tokens[:1] == ["\\NOT"]
        tokens = tokens[1:] if negative else tokens
        value = False
        if tokens[:1] == ["\\boolean"]:
            value = self.switches.get(words(tokens[1:]), False)
        elif tokens[:1] == ["\\equal"]:
            self._gullet.open(tokens[1:])
            first, second = self._gullet.argument(), self._gullet.argument()
            self._gullet.close()
            value = self._gullet.expanded(first) == self._gullet.expanded(second)
        return value != negative

    def _expand_after(self) -> None:
        r"""`\expandafter A B`: one step of B, then A."""
        gullet = self._gullet
        first, second = gullet.pop(), gullet.peek()
        if first is None:
            return
        if second == "\\csname":
            gullet.pop()
            self._named()
        gullet.push([first])

    def _named(self) -> None:
        tokens: list[str] = []
        gullet = self._gullet
        while (token := gullet.next()) is not None and token != "\\endcsname" and len(tokens) < 100:
            tokens.append(token)
        gullet.push([f"\\{words(tokens)}"])

    def _define_named(self) -> None:
        name = words(self._gullet.argument())
        self._definitions.define(f"\\{name}", Macro(self._gullet.argument()))


_NEVER_DEFINED = ("\\undefined", "\\@undefined")
