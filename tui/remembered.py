"""What the application remembers from one start to the next, in `<home>/tui.json`: a theme, hints that were read, paths."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.runs import read_json, write_json_atomic

FILE = "tui.json"


class Remembered:
    """Small values by name. A file that is damaged or cannot be written costs what was remembered, nothing else."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file at `path`, by default `<home>/tui.json`."""
        self.path = paths.home() / FILE if path is None else path
        self.problem = ""
        """A sentence about a damaged file, which was set aside."""
        self._values = self._read()

    def get(self, name: str, default: Any = None) -> Any:
        """The value called `name`. A value of another type than the default's is not believed."""
        value = self._values.get(name, default)
        return value if default is None or isinstance(value, type(default)) else default

    def set(self, name: str, value: Any) -> None:
        """Remember a JSON value; nothing is written where it was remembered already."""
        if self._values.get(name) == value:
            return
        # Another window of the application may have written meanwhile.
        self._values = {**self._read(), name: json.loads(json.dumps(value))}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json_atomic(self.path, self._values, durable=False)
        except (UserError, OSError):
            pass  # a full disk: it is remembered until the application is closed

    def add(self, name: str, *values: str) -> list[str]:
        """Put texts at the end of a remembered list, each once; the list."""
        known = [text for text in self.get(name, []) if isinstance(text, str) and text not in values]
        self.set(name, [*known, *values])
        return [*known, *values]

    def remove(self, name: str, values: Iterable[str]) -> list[str]:
        """Take texts out of a remembered list; the list."""
        gone = set(values)
        left = [text for text in self.get(name, []) if text not in gone]
        self.set(name, left)
        return left

    def _read(self) -> dict[str, Any]:
        if not os.path.exists(self.path):
            return {}
        try:
            raw = read_json(self.path)
            if not isinstance(raw, dict):
                raise UserError(f"{self.path} is no JSON object")
        except UserError as error:
            self._set_aside(error)
            return {}
        return raw

    def _set_aside(self, error: UserError) -> None:
        """Keep the damaged file under another name: a new one will be written."""
        place, number = self.path.with_name(f"{self.path.name}.damaged"), 1
        while os.path.lexists(place):
            number += 1
            place = self.path.with_name(f"{self.path.name}.damaged-{number}")
        lost = "the theme and the hints are as at the first start"
        try:
            os.rename(self.path, place)
        except OSError:
            self.problem = f"{error}; {lost}"
            return
        self.problem = f"{error}; {lost}, and the file was kept as {place.name}"
