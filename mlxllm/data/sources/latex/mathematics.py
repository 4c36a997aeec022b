"""Math, kept as LaTeX: macros expanded, labels turned into numbers, layout between formulas removed."""

from collections.abc import Callable

from mlxllm.data.sources.latex.definitions import Definitions
from mlxllm.data.sources.latex.gullet import Gullet
from mlxllm.data.sources.latex.references import Numbers
from mlxllm.data.sources.latex.tokens import BLANK, PAR, untokenize, words

_MOST_INLINE = 20_000
"""Tokens of a formula in a line; one that is longer was never closed."""
_REMOVED = {
    f"\\{name}": "" for name in "nonumber notag xspace protect displaylimits allowbreak hfill nobreak relax".split()
}
_REMOVED |= {"\\vspace": "m", "\\color": "m", "\\index": "m", "\\IEEEyesnumber": "", "\\label": "m"}
_ONE_NUMBER = ("equation", "multline", "dmath", "darray", "empheq")
_ALIGNED = {
    "eqalign": "align",
    "IEEEeqnarray": "align",
    "darray": "aligned",
    "subeqnarray": "eqnarray",
    "dgroup": "gather",
}
_REFERENCES = ("\\ref", "\\eqref", "\\autoref", "\\cref", "\\Cref", "\\cite", "\\citep", "\\citet")


class Mathematics:
    """Reads formulas from the gullet."""

    def __init__(
        self, gullet: Gullet, definitions: Definitions, numbers: Numbers, pass_over: Callable[[str], None]
    ) -> None:
        """Formulas are read when they are met.

        Args:
            gullet: what they are read from.
            definitions: for the environments of the paper.
            numbers: counts equations and knows what is referred to.
            pass_over: takes arguments of the kinds it is told.
        """
        self._gullet, self._definitions, self._numbers, self._pass_over = gullet, definitions, numbers, pass_over

    def inline(self, close: str) -> str:
        r"""A formula in a line, up to `$` or `\)`, in dollars."""
        body = untokenize(self._formula(close)).strip()
        return f"${' '.join(body.split())}$" if body else ""

    def display(self, close: str) -> str:
        r"""A formula of its own, up to `$$` or `\]`."""
        formula, _, number = untokenize(self._formula(close)).partition("\\eqno")  # plain TeX's own tag
        return _displayed(f"{formula.strip()} \\tag{{{number.strip(' ()$')}}}" if number else formula)

    def environment(self, name: str) -> str:
        r"""What stands between `\begin{name}` and its end, as display math with the numbers of labelled lines.

        An equation needs no environment there; align and its kin keep theirs.
        """
        plain = name.rstrip("*")
        if plain == "math":
            body = untokenize(token for row in self._rows(name) for token in row).strip()
            return f"${body}$" if body else ""
        rows = self._rows(name)
        numbered = plain not in ("displaymath",) and not name.endswith("*")
        if plain in _ONE_NUMBER:
            rows = [[token for row in rows for token in (*row, BLANK)]]
        shown = [self._row(row, numbered) for row in rows]
        if plain in ("equation", "displaymath", "dmath"):
            return _displayed("\n".join(shown))
        inner = _ALIGNED.get(plain, "gathered" if plain == "empheq" else plain) + name[len(plain) :]
        body = "\n".join(row for row in shown if row)
        return _displayed(f"\\begin{{{inner}}}\n{body}\n\\end{{{inner}}}") if body else ""

    def _formula(self, close: str) -> list[str]:
        gullet = self._gullet
        inline = close in ("$", "\\)")
        tokens: list[str] = []
        depth = 0
        gullet.in_math = True
        while (token := gullet.next()) is not None:
            if token == close and not depth:
                break
            if token == "$$" and inline and not depth:
                gullet.push(["$"])
                break
            if token == PAR:
                if inline:
                    gullet.push([PAR])
                    break
                continue
            if inline and len(tokens) > _MOST_INLINE:
                break
            depth += (token == "{") - (token == "}")
            if depth < 0:
                gullet.push([token])
                break
            self._take(token, tokens)
        gullet.in_math = False
        return tokens

    def _rows(self, name: str) -> list[list[str]]:
        r"""The lines of an environment, each with the `\\` that ends it."""
        gullet = self._gullet
        rows: list[list[str]] = [[]]
        depth = 0
        gullet.in_math = True
        while (token := gullet.next()) is not None:
            row = rows[-1]
            if token == "\\end":
                ended = words(gullet.argument())
                if ended == name and depth <= 0:
                    break
                if known := self._definitions.environments.get(ended):
                    gullet.push(known.end)
                    continue
                if ended == "document":
                    gullet.push([token, "{", ended, "}"])
                    break
                depth -= 1
                row += ["\\end", "{", ended, "}"]
            elif token == "\\begin":
                begun = words(gullet.argument())
                if known := self._definitions.environments.get(begun):
                    gullet.push_macro(known.begin)
                    continue
                depth += 1
                row += ["\\begin", "{", begun, "}"]
            elif token == "\\\\" and not depth:
                gullet.starred()
                gullet.optional()
                row.append(token)
                rows.append([])
            elif token in ("\\nonumber", "\\notag") and not depth:
                row.append(token)
            elif token == "\\label":
                row += ["\\label", "{", words(gullet.argument()), "}"]
            elif token != PAR:
                depth += (token == "{") - (token == "}")
                self._take(token, row)
        gullet.in_math = False
        return rows

    def _row(self, row: list[str], numbered: bool) -> str:
        r"""One line, with `\tag` and its number if it has a label or a tag."""
        tokens: list[str] = []
        labels: list[str] = []
        own_tag = False
        at = 0
        while at < len(row):
            token = row[at]
            if token == "\\label":
                labels.append(row[at + 2])
                at += 3
            elif token in ("\\nonumber", "\\notag"):
                numbered = False
            else:
                own_tag = own_tag or token == "\\tag"
                tokens.append(token)
            at += 1
        end = tokens.pop() if tokens and tokens[-1] == "\\\\" else ""
        text = " ".join(untokenize(tokens).split())
        if not text:
            return end and text
        if own_tag:
            tag = text.partition("\\tag")[2].lstrip("*").partition("}")[0].lstrip("{")
            for label in labels:
                self._numbers.label(label, tag)
        elif numbered:
            number = self._numbers.step("equation", "Equation")
            for label in labels:
                self._numbers.label(label, number)
            text += f" \\tag{{{number}}}" if labels else ""
        return f"{text} {end}".strip()

    def _take(self, token: str, tokens: list[str]) -> None:
        """One token of a formula, which goes behind `tokens` unless it is about layout."""
        gullet = self._gullet
        if token in _REMOVED:
            if _REMOVED[token]:
                self._pass_over("*om")
        elif token == "\\ensuremath":
            gullet.push(gullet.argument())
        elif token == "\\textcolor":
            self._pass_over("om")
        elif token in _REFERENCES:
            gullet.starred()
            tokens.append(f"\0math\0{self._numbers.refer(token, words(gullet.argument()))}")
        elif token == "\\begin":
            begun = words(gullet.argument())
            if known := self._definitions.environments.get(begun):
                gullet.push_macro(known.begin)
            else:
                tokens += ["\\begin", "{", begun, "}"]
        elif token == "\\end":
            ended = words(gullet.argument())
            if known := self._definitions.environments.get(ended):
                gullet.push(known.end)
            else:
                tokens += ["\\end", "{", ended, "}"]
        elif token != BLANK or (tokens and tokens[-1] != BLANK):
            tokens.append(token)


def _displayed(body: str) -> str:
    lines = (" ".join(line.split()) for line in body.split("\n"))
    kept = "\n".join(line for line in lines if line)
    return f"$$\n{kept}\n$$" if kept else ""
