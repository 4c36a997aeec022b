"""One of our own commands as a child process: its lines as they come, its end, and how to stop it."""

import asyncio
import codecs
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

Line = dict[str, Any] | str
"""A line of a command's stdout: an object where it printed JSON, else text."""

_GRACE_SECONDS = 10.0
"""From a first SIGINT, which lets a command save what it has, to SIGKILL."""
_LONGEST_LINE = 1 << 26
_KEPT_ERROR_CHARS = 4000
_COLUMNS = 1000
"""Nothing is folded for a reader that is a program."""
_CANNOT_START = 126
"""What a shell returns for a command that it cannot start."""


def command(args: Sequence[str]) -> list[str]:
    """The argument list that starts `mlxllm ARGS` with the Python that runs this."""
    # -P: a file of the working folder, such as a random.py, must not stand in for a module of the library.
    return [sys.executable, "-P", "-m", "mlxllm", *args]


class Job:
    """`mlxllm ARGS`, from `run` to its end."""

    def __init__(
        self,
        args: Sequence[str],
        on_line: Callable[[Line], None],
        *,
        on_said: Callable[[str], None] | None = None,
        columns: int = _COLUMNS,
    ) -> None:
        """Nothing is started yet.

        Args:
            args: what stands behind `mlxllm`.
            on_line: called on the event loop with each line of stdout.
            on_said: the same with each line of stderr, where commands narrate.
            columns: the width that is written for.
        """
        self.args = tuple(args)
        self.returncode: int | None = None
        self.cancelled = False
        self._on_line, self._on_said, self._columns = on_line, on_said, columns
        self._process: asyncio.subprocess.Process | None = None
        self._error = ""

    @property
    def error(self) -> str:
        """The sentence that a failed command ended with, without its "error: "."""
        found = self._error.strip()
        for paragraph in reversed(found.split("\nerror: ")):
            if paragraph:
                return " ".join(paragraph.removeprefix("error: ").split())
        return f"it ended with exit code {self.returncode} and said nothing" if self.returncode else ""

    async def run(self) -> int:
        """Start it and see it through; its return code, negative for a signal."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command(self.args),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                # Ctrl-C in the terminal is the application's own; a child gets its SIGINT from `cancel`.
                start_new_session=True,
                limit=_LONGEST_LINE,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": str(self._columns)},
            )
        except OSError as error:
            self._error = f"mlxllm cannot be started: {error.strerror or error}"
            self.returncode = _CANNOT_START
            return self.returncode
        if self.cancelled:
            self._signal(signal.SIGINT)
        try:
            await asyncio.gather(self._read_lines(), self._read_errors())
            self.returncode = await self._process.wait()
        finally:
            if self._process.returncode is None:  # the application is closing
                self._signal(signal.SIGINT)
        return self.returncode

    def cancel(self) -> None:
        """Ask it to stop as Ctrl-C does; it is killed if it has not ended after a while."""
        if self.cancelled:
            return
        self.cancelled = True
        if self._process is not None and self._process.returncode is None:
            self._signal(signal.SIGINT)
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._signal, signal.SIGKILL)

    async def stop(self, seconds: float) -> None:
        """Ask it to stop, and wait until it has ended, so long at most."""
        self.cancel()
        if self._process is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), seconds)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def _read_lines(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            text = raw.decode("utf-8", "replace").rstrip("\n")
            parsed: Any = None
            if text.startswith("{"):
                with suppress(ValueError, RecursionError):
                    parsed = json.loads(text)
            self._on_line(parsed if isinstance(parsed, dict) else text)

    async def _read_errors(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        line, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := await self._process.stderr.read(1 << 16):
            text = decoder.decode(chunk)
            self._error = (self._error + text)[-_KEPT_ERROR_CHARS:]
            if self._on_said is not None:
                *whole, line = (line + text).split("\n")
                for each in whole:
                    self._on_said(each.rpartition("\r")[2])
        if self._on_said is not None and line:
            self._on_said(line)
