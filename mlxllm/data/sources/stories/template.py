"""The little language that sentences are written in, and its compiler.

One line is one way to say a thing; a text of several lines offers them all. In a line:

    [a|b|c]      one of these, nested as deep as one likes; `[a|]` is optional
    {x}          the one who is bound to x, as a name, a noun phrase or a pronoun, whichever is clear
    {x.form}     a form of x (see world.py), or `o` (object case) or `p` (possessive), chosen like {x};
                 after a quotation and its verb, {x} is never a pronoun: said Mia, but not said she
    <happy>      a word list from `words.py`
    ^            a sentence begins here, where the compiler cannot see it (after `!"` and `?"`)
    "~           a quotation that goes on after its tag, without a new capital

Sentences get their capital letters when the story is joined. Spaces at the ends of a line, and runs of them, do not
count, so that a long line can be continued with a backslash.
"""

from mlxllm.data.sources.stories.words import WORDS


class Slot:
    """A reference to what is bound to `key`; `quoted` where it stands inside of quotation marks."""

    __slots__ = ("form", "key", "quoted")

    def __init__(self, key: str, form: str, quoted: bool) -> None:
        self.key = key
        self.form = form
        self.quoted = quoted


class Start:
    """The beginning of a sentence outside of quotation marks."""

    __slots__ = ()


class Choice:
    """Alternatives: plain strings where nothing has to be resolved, else sequences."""

    __slots__ = ("branches",)

    def __init__(self, branches: "tuple[str | Sequence, ...]") -> None:
        self.branches = branches


Node = str | Slot | Start | Choice
Sequence = tuple[Node, ...]

START = Start()
CAPITAL = "^"
CONTINUED = "~"


def compile_variants(text: str) -> tuple[Sequence, ...]:
    """The lines of `text`, compiled. Raises ValueError for a line that is not balanced."""
    lines = [" ".join(line.split()) for line in text.strip().split("\n")]
    return tuple(_Parser(line).line() for line in lines if line)


class _Parser:
    def __init__(self, line: str) -> None:
        self.source = line
        self.text = _expand(line)
        self.at = 0
        self.quoted = False
        self.tag = False
        """Whether a closed quotation still waits for its speaker."""

    def line(self) -> Sequence:
        nodes = self.sequence()
        if self.at != len(self.text) or self.quoted:
            raise ValueError(f"unbalanced bracket or quotation mark in {self.source!r}")
        return (START, *nodes)

    def sequence(self) -> Sequence:
        """Nodes up to the end, or to the `|` or `]` that ends a branch."""
        nodes: list[Node] = []
        text, plain = self.text, ""

        def flush() -> None:
            nonlocal plain
            if plain:
                nodes.append(plain)
            plain = ""

        while self.at < len(text):
            char = text[self.at]
            if char in "|]":
                break
            self.at += 1
            if char == "[":
                flush()
                nodes.append(self.choice())
            elif char == "{":
                flush()
                end = text.index("}", self.at)
                key, _, form = text[self.at : end].partition(".")
                if self.tag and not form and nodes and _is_verb(nodes[-1]):
                    form = "n"
                self.tag = False
                nodes.append(Slot(key, form, self.quoted))
                self.at = end + 1
            elif char == '"':
                self.quoted = not self.quoted
                self.tag = not self.quoted
                plain += '"'
                if self.quoted and text[self.at : self.at + 1] == CONTINUED:
                    self.at += 1
                elif self.quoted:
                    plain += CAPITAL
            elif char == CAPITAL:
                flush()
                if nodes[-1:] != [START]:  # the full stop before it may have said so already
                    nodes.append(START)
            elif char == " " and plain[-1:] in (".", "!", "?"):
                plain += " " + (CAPITAL if self.quoted else "")
                if not self.quoted:
                    flush()
                    nodes.append(START)
            elif char == " " and plain[-2:] == '."':
                plain += " "
                flush()
                nodes.append(START)
            else:
                plain += char
        flush()
        return tuple(nodes)

    def choice(self) -> Choice:
        branches: list[str | Sequence] = []
        quoted, tag = self.quoted, self.tag
        while True:
            self.quoted, self.tag = quoted, tag
            branch = self.sequence()
            branches.append(branch[0] if len(branch) == 1 and isinstance(branch[0], str) else branch or "")
            if self.at >= len(self.text):
                raise ValueError(f"unbalanced bracket in {self.source!r}")
            self.at += 1
            if self.text[self.at - 1] == "]":
                return Choice(tuple(branches))


def _is_verb(node: Node) -> bool:
    """Whether the node stands between a quotation and its speaker: `" said `, not `" `."""
    return isinstance(node, Choice) or (isinstance(node, str) and not node.endswith('" '))


def _expand(line: str) -> str:
    """The line with its word lists written out."""
    while "<" in line:
        head, _, rest = line.partition("<")
        name, _, tail = rest.partition(">")
        line = f"{head}[{WORDS[name]}]{tail}"
    return line


def rows(text: str) -> tuple[tuple[str, ...], ...]:
    """A table: one line a row, cells separated by ` | `."""
    return tuple(tuple(cell.strip() for cell in line.split(" | ")) for line in text.strip().split("\n"))
