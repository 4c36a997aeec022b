"""Which files of a tree git would ignore: the rules of gitignore(5), without git."""

import re
from dataclasses import dataclass

from mlxllm.data.globs import compile_glob

NAME = ".gitignore"
MOST_RULES = 100_000
"""Of a tree; what stands behind is not heeded, so that no crafted one takes memory without end."""


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: "re.Pattern[str]"
    negated: bool
    folders_only: bool
    by_name: bool
    """It is matched with the name at any depth, and not with the path from the folder of its file."""


class IgnoreRules:
    """The rules of all .gitignore files of a tree."""

    def __init__(self) -> None:
        """No rules: nothing is ignored."""
        self._rules: dict[str, list[_Rule]] = {}
        self._number = 0

    def add(self, folder: str, text: str) -> None:
        """Heed a .gitignore, behind others of the same folder.

        Args:
            folder: in which it lies, from the top of the tree; "" for the top.
            text: of the file.
        """
        rules = self._rules.setdefault(folder, [])
        for line in text.removeprefix("\ufeff").split("\n"):
            if self._number < MOST_RULES and (rule := _rule(line.removesuffix("\r"))) is not None:
                self._number += 1
                rules.append(rule)

    def ignores(self, path: str, *, folder: bool = False, below: str = "") -> bool:
        """Whether git ignores a file (or a folder), or a folder in which it lies.

        Args:
            path: from the top of the tree, with / between its parts.
            folder: it is one.
            below: this folder and those above it are wanted, whatever the rules say of them.
        """
        if not self._number:
            return False
        parts = path.split("/")
        # Nothing in a folder that is ignored can be taken back.
        first = below.count("/") + 2 if below else 1
        ends = range(first, len(parts) + 1)
        return any(self._matches("/".join(parts[:end]), folder=folder or end < len(parts)) for end in ends)

    def _matches(self, path: str, *, folder: bool) -> bool:
        """By the last rule that says anything of it; rules of deeper folders come later."""
        above = path.rpartition("/")[0]
        while True:
            for rule in reversed(self._rules.get(above, ())):
                if rule.folders_only and not folder:
                    continue
                seen = path.rpartition("/")[2] if rule.by_name else path[len(above) + 1 :] if above else path
                if rule.pattern.fullmatch(seen):
                    return not rule.negated
            if not above:
                return False
            above = above.rpartition("/")[0]


def _rule(line: str) -> _Rule | None:
    if line.startswith("#"):
        return None
    # Blanks at the end count only behind a backslash.
    while line.endswith((" ", "\t")) and not line[:-1].endswith("\\"):
        line = line[:-1]
    negated = line.startswith("!")
    line = line[negated:]
    folders_only = line.endswith("/")
    line = line[: -1 if folders_only else None]
    if not line or _ends_in_half(line):
        return None
    by_name = "/" not in line
    return _Rule(compile_glob(line.removeprefix("/")), negated, folders_only, by_name)


def _ends_in_half(pattern: str) -> bool:
    """A backslash at the end takes nothing as it is: such a pattern never matches."""
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1
