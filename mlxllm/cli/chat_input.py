"""Reading what the user types: line editing and history, several lines at once, and Esc while an answer streams."""

import contextlib
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Self

from mlxllm import paths
from mlxllm.cli import sampling
from mlxllm.errors import EXIT_SIGTERM, DataError

HISTORY_LINES = 1000
QUOTES = '"""'
_COMMAND = re.compile(r"/[a-z-]+ +")
_ESC = b"\x1b"
_ESC_SECONDS = 0.03


class LineReader:
    """Lines from a terminal, with editing and history, or from a pipe."""

    def __init__(self, *, editing: bool = True) -> None:
        """Look at stdin and stdout; on a terminal, set up line editing, unless nothing else may go to stdout."""
        self.interactive = editing and sys.stdin.isatty() and sys.stdout.isatty()
        self._typed_ahead = ""
        if self.interactive:
            self._start_editing()

    def read(self, prompt: str, continued: str) -> str:
        r"""The next input, which may span lines: between lines of `\"\"\"`, or after a backslash at a line's end.

        The quotes begin a line, or stand behind a command that takes a text.

        Args:
            prompt: shown before the first line on a terminal.
            continued: shown before further lines.

        Raises:
            EOFError: there is no more.
            KeyboardInterrupt: Ctrl-C at the prompt.
            DataError: what is piped in is not UTF-8.
        """
        line = self._line(prompt)
        before, quotes, text = line.partition(QUOTES)
        if quotes and (not before or _COMMAND.fullmatch(before)):
            return before + self._quoted(text, continued)
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            try:
                lines.append(self._line(continued))
            except EOFError:
                break
        return "\n".join(lines)

    def type_ahead(self, text: str) -> None:
        """Put what was typed while an answer streamed into the next line."""
        self._typed_ahead += text

    def close(self) -> None:
        """Save the history."""
        if not self.interactive:
            return
        import readline

        path = paths.home() / "chat_history"
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)
            path.chmod(0o600)

    def _start_editing(self) -> None:
        import readline  # only on a terminal: merely importing it can write to one

        # libedit, which some builds have instead of GNU readline, cannot read the other's file.
        with contextlib.suppress(OSError):
            readline.read_history_file(paths.home() / "chat_history")
        readline.set_history_length(HISTORY_LINES)

        def insert() -> None:
            readline.insert_text(self._typed_ahead)
            self._typed_ahead = ""

        readline.set_startup_hook(insert)

    def _line(self, prompt: str) -> str:
        if self.interactive:
            try:
                typed = input(prompt)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"that line is not UTF-8 text: {error.reason} at its byte {error.start:,}; is the terminal set to UTF-8?"
                ) from None
            sampling.check_text(typed, "that line")
            return typed
        line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        try:
            return line.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(
                f"a line on stdin is not UTF-8 text: {error.reason} at its byte {error.start:,}; convert it first"
            ) from None

    def _quoted(self, first: str, continued: str) -> str:
        lines = [first]
        while not lines[-1].endswith(QUOTES):
            try:
                lines.append(self._line(continued))
            except EOFError:
                return "\n".join(lines)
        lines[-1] = lines[-1].removesuffix(QUOTES)
        # Quotes on lines of their own add no empty lines.
        return "\n".join(lines[1 if not first else 0 : -1 if not lines[-1] and len(lines) > 1 else None])


class StopKeys:
    """While it is entered, Esc and Ctrl-C set `pressed` instead of doing anything else.

    The terminal does not echo meanwhile and hands over every key; it is put back on every way out, SIGTERM
    included. Where stdin is no terminal nothing changes, and Ctrl-C is a KeyboardInterrupt as usual.
    """

    def __init__(self, active: bool, type_ahead: Callable[[str], None]) -> None:
        """Watch if `active`; what else is typed goes to `type_ahead`."""
        self._active, self._type_ahead = active, type_ahead
        self._interrupted = False
        self._undo = contextlib.ExitStack()

    @property
    def pressed(self) -> bool:
        """Whether Esc or Ctrl-C was pressed; looks at the keyboard without waiting."""
        if not self._active or self._interrupted:
            return self._interrupted
        fd = sys.stdin.fileno()
        try:
            keys = os.read(fd, 1024) if _has_input(fd, 0) else b""
            # An arrow or function key begins with Esc as well, but more follows, over a network a little later.
            while keys.endswith(_ESC) and _has_input(fd, _ESC_SECONDS):
                keys += os.read(fd, 1024)
        except OSError:  # the terminal is gone
            keys = _ESC
        self._interrupted |= keys.endswith(_ESC)
        if _ESC not in keys:
            self._type_ahead("".join(c for c in keys.decode(errors="ignore") if c.isprintable()))
        return self._interrupted

    def __enter__(self) -> Self:
        if self._active:
            self._undo.enter_context(_signals(self._on_interrupt))
            self._undo.enter_context(_every_key())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True


def _has_input(fd: int, seconds: float) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


@contextlib.contextmanager
def _signals(on_interrupt: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGINT calls `on_interrupt`; SIGTERM leaves the program on a way that cleans up."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(EXIT_SIGTERM)

    before = signal.signal(signal.SIGINT, on_interrupt), signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


@contextlib.contextmanager
def _every_key() -> Iterator[None]:
    """Keys come one by one and unseen; Ctrl-C still is a signal."""
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        # Not TCSAFLUSH, which would drop what was typed ahead.
        tty.setcbreak(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
