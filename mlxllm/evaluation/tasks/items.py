"""What a task is made of: questions of four kinds, the examples before them, and which of them are asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlxllm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with several answers, one of which is right."""

    context: str
    """What stands before an answer, a space between them."""
    choices: tuple[str, ...]
    gold: int
    """Number of the right one, from 0."""

    @property
    def solved(self) -> str:
        """As an example: the question with its answer."""
        return f"{self.context} {self.choices[self.gold]}"


@dataclass(frozen=True, slots=True)
class Ending:
    """A text whose last word is to be foreseen."""

    context: str
    target: str
    """The word, without the space before it."""

    @property
    def solved(self) -> str:
        """As an example: the whole text."""
        return f"{self.context} {self.target}"


@dataclass(frozen=True, slots=True)
class Sum:
    """A word problem whose answer is a number."""

    context: str
    answer: str
    """The way to the number and, behind `####`, the number."""

    @property
    def solved(self) -> str:
        """As an example: the problem with its answer."""
        return f"{self.context} {self.answer}"


@dataclass(frozen=True, slots=True)
class Code:
    """A function that is to be written."""

    name: str
    context: str
    """Its head and what it is to do."""
    entry_point: str
    """What it is called."""
    test: str
    """Defines `check(candidate)`."""
    solution: str
    """One that is right."""

    @property
    def solved(self) -> str:
        """As an example: the whole function."""
        return self.context + self.solution


Item = Choice | Ending | Sum | Code


@dataclass(frozen=True)
class Task:
    """The questions of one file."""

    name: str
    items: tuple[Item, ...]
    """All of one kind."""
    sha256: str
    """Over the files that they came from."""
    examples: tuple[Item, ...] = ()
    """Solved ones to show before a question, from a file of their own; empty where there is none."""
    description: str = ""
    """What stands before the examples."""
    letters: bool = False
    """The choices are shown in the context and named by letters, so that their lengths say nothing."""
    group: str | None = None
    """The folder that it belongs to, as MMLU's subjects do."""

    @property
    def usual_shots(self) -> int:
        """The examples that are shown before a question where nobody says how many: those of the public definitions."""
        return 5 if isinstance(self.items[0], Sum) else 0

    @property
    def chance(self) -> float | None:
        """The share that guessing gets right; None where nothing is to be chosen from."""
        shares = [1 / len(item.choices) for item in self.items if isinstance(item, Choice)]
        return sum(shares) / len(shares) if shares else None


@dataclass(frozen=True)
class Asked:
    """What is asked of a task."""

    preamble: str
    """Description and solved examples, which stand before each question."""
    shots: int
    items: tuple[tuple[int, Item], ...]
    """Each with its number in the file, from 0."""


def asked(task: Task, shots: int | None, limit: int | None) -> Asked:
    """The questions that are asked, always the same ones: the first `limit`, behind the examples if they are the file's.

    Args:
        task: the task.
        shots: solved examples before each question, the first ones there are; by default `usual_shots`.
        limit: questions at most.

    Raises:
        ConfigError: there are not as many examples.
    """
    wanted = min(task.usual_shots, _spare(task)) if shots is None else shots
    if wanted > _spare(task):
        held = (
            f"{len(task.examples):,} examples" if task.examples else f"{len(task.items):,} items, one of which is asked"
        )
        raise ConfigError(f"--shots is {wanted}, but {task.name} has {held}; give {_spare(task)} or less")
    first = 0 if task.examples else wanted
    shown: Sequence[Item] = (task.examples or task.items)[:wanted]
    numbered = tuple(enumerate(task.items))[first:]
    preamble = task.description + "".join(example.solved + "\n\n" for example in shown)
    return Asked(preamble, wanted, numbered[:limit])


def _spare(task: Task) -> int:
    return len(task.examples) or len(task.items) - 1
