"""A process that is given a request and answers in files: started, waited for, and ended when nobody waits any more."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    """Below 0: minus the signal that ended it."""
    stdout: str
    stderr: str


class Child:
    """A process that works in a folder of its own and reads its request from stdin; leaving the context ends it."""

    def __init__(
        self, command: Sequence[str], request: Mapping[str, Any], environment: Mapping[str, str], folder: Path
    ) -> None:
        """Start it.

        Args:
            command: the interpreter, the script and its arguments.
            request: is written as JSON.
            environment: all of it.
            folder: to work in; what it says is kept there.

        Raises:
            OSError: it cannot be started.
        """
        self._said = folder / "stdout.txt", folder / "stderr.txt"
        given = folder / "request.json"
        given.write_text(json.dumps(request), encoding="utf-8")
        # Files, and not pipes: several of them run at once, and nobody reads along.
        with given.open("rb") as stdin, self._said[0].open("wb") as stdout, self._said[1].open("wb") as stderr:
            self._process = subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=folder
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def wait(self, seconds: float) -> Ended:
        """Wait until it has ended.

        Raises:
            TimeoutError: it has not, after so many seconds.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        stdout, stderr = (file.read_text("utf-8", errors="replace") for file in self._said)
        return Ended(code, stdout, stderr)
