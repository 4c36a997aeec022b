"""What a chapter of the tour is: a page of text, a formula, where this project does it, an experiment, a question."""

import re
from dataclasses import dataclass

MOST_LINES = 25
"""Of a chapter's text: what a small terminal shows without scrolling."""
WIDEST = 100
"""Columns of a line."""

_IN_ASCII = str.maketrans(
    {
        "−": "-",
        "·": "*",
        "⊙": "*",
        "≈": "~",
        "→": "->",
        "←": "<-",
        "⟨": "<",
        "⟩": ">",
        "…": "...",
        "∞": "inf",
        "Σ": "sum",
        "√": "sqrt ",
        "β": "beta",
        "ε": "eps",
        "θ": "theta",
        "π": "pi",
        "σ": "sigmoid",
        "φ": "phi",
        "ᵀ": "^T",
        "²": "^2",
        "₁": "1",
        "₂": "2",
        "₃": "3",
    }
)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Reference:
    """Where this project does what a chapter tells of."""

    file: str
    """Path in the repository."""
    name: str
    """A function or class in it, a method as Class.method."""

    @property
    def text(self) -> str:
        """As it is shown."""
        return f"{self.file}: {self.name}"


@dataclass(frozen=True)
class Experiment:
    """One of our own commands, to be run on what the user has."""

    command: str
    """What stands behind `mlxllm`, quoted as in a shell; {model}, {run}, ... stand for what `subjects` finds."""
    look: str
    """What to look at in what it prints."""
    only_with: str = ""
    """Something that has to be there, too, though the command does not name it."""

    @property
    def needs(self) -> frozenset[str]:
        """The names of what has to be there."""
        return frozenset(_PLACEHOLDER.findall(self.command)) | ({self.only_with} if self.only_with else set())


@dataclass(frozen=True)
class Chapter:
    """One chapter."""

    number: int
    """From 1."""
    title: str
    text: str
    """At most `MOST_LINES` lines of at most `WIDEST` columns."""
    formula: str
    """A line or a few, in plain Unicode."""
    references: tuple[Reference, ...]
    experiments: tuple[Experiment, ...]
    """The first one whose needs are met is the chapter's."""
    question: str
    answer: str
    missing: str = ""
    """What to do where none of the experiments can be run; by default: make a model."""

    @property
    def lines(self) -> list[str]:
        """The text, line by line."""
        return self.text.strip("\n").split("\n")

    @property
    def formula_in_ascii(self) -> str:
        """The formula for a terminal that has no other letters."""
        return self.formula.translate(_IN_ASCII)

    @property
    def paragraphs(self) -> list[str]:
        """The text for another width: each paragraph, and each item of a list, in one line."""
        found: list[str] = []
        begins = True
        for line in self.lines:
            if line and (begins or line.startswith("- ")):
                found.append(line)
            elif line:
                found[-1] += f" {line.strip()}"
            begins = not line
        return found
