"""A judge that is any program: it reads a JSON object a line, and writes one a line.

It reads `{"id": 0, "prompt": "...", "messages": [...], "a": "...", "b": "..."}`: `prompt` is what was asked last, and
`messages` are all turns up to it. It writes `{"winner": "a"}`, `"b"` or `"tie"`, or `{"score": P}` with P from 0 to 1, how
likely B is the better one; where it cannot tell, `{"error": "why"}`. A reply may name the `id` that it is about, and is
otherwise about the first request without a reply; a `reason` is kept. All requests are written at once and the input is
closed then, so that it is up to the program whether it answers one after the other or all in the end. A program that ends
after some replies is started again with the requests that are left.
"""

import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

from mlxllm.conversation.lines import json_line, parse_object
from mlxllm.errors import ConfigError, DataError
from mlxllm.evaluation.versus.judges import Opinion, Question
from mlxllm.visible import brief, readable

USUAL_SECONDS = 120.0
"""Without a reply for so long, a judge is taken to hang."""

_WINNERS = {"a": 0.0, "tie": 0.5, "b": 1.0}
_MOST_LINE = _MOST_FILE = 1 << 20
_MOST_REASON = 1000
_TAIL = 4096
_GRACE = 2.0
"""Seconds that a program has to end after it closed its output."""


class CommandJudge:
    """Asks a program."""

    def __init__(
        self, command: str, seconds: float = USUAL_SECONDS, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Split the command as a shell would; no shell is started.

        Args:
            command: the program and its arguments.
            seconds: how long it may take until its next reply.
            say: told when the program has to be started again.

        Raises:
            ConfigError: the command is empty, or its quotes do not match.
        """
        try:
            self.arguments = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--judge {command!r} cannot be split into words: {str(error).lower()}") from None
        if not self.arguments:
            raise ConfigError("--judge is empty; give a program with its arguments, such as --judge 'python judge.py'")
        self._seconds, self._say = seconds, say

    def check(self) -> None:
        """See whether there is such a program: before it is asked, models may write for a long time.

        Raises:
            ConfigError: there is none.
        """
        if shutil.which(self.arguments[0]) is None:
            raise _not_started(self.arguments[0], "there is no such program, or it may not be run")

    @property
    def identity(self) -> str:
        """The command, and SHA-256 of the small files that it names: a script that was changed is another judge."""
        hashes = []
        for word in self.arguments:
            path = Path(word).expanduser()
            with suppress(OSError, ValueError):
                if path.is_file() and path.stat().st_size <= _MOST_FILE:
                    hashes.append(sha256(path.read_bytes()).hexdigest())
        return json.dumps(["command", self.arguments, hashes])

    def __call__(self, questions: Sequence[Question]) -> Iterator[tuple[int, Opinion]]:
        """Ask the program about all of them; its opinions come as it gives them.

        Raises:
            ConfigError: it cannot be started.
            DataError: it ends without a reply, takes too long, or says what cannot be understood.
        """
        waiting = list(range(len(questions)))
        while waiting:
            before = len(waiting)
            with _Process(self.arguments) as process:
                process.send(b"".join(_request(number, questions[number]) for number in waiting))
                while waiting:
                    done = len(questions) - len(waiting)
                    try:
                        line = process.line(self._seconds)
                    except TimeoutError:
                        raise self._failure(f"said nothing for {self._seconds:g} s", done) from None
                    if line is None:
                        break
                    if line.strip():
                        number, opinion = self._opinion(line, waiting, done)
                        waiting.remove(number)
                        yield number, opinion
                if not waiting:
                    return
                ended = process.ended()
            done = len(questions) - len(waiting)
            if len(waiting) == before:
                raise self._failure(f"{ended} before its next reply", done)
            self._say(f"the judge {ended} after {_replies(done)}; it is started again for the others")

    def _opinion(self, line: bytes, waiting: Sequence[int], done: int) -> tuple[int, Opinion]:
        """The reply in a line, and the request that it is about."""
        reply = parse_object(line)
        if reply is None:
            raise self._failure(f"wrote {brief(line.decode(errors='replace'))}, which is no JSON object", done)
        number = reply.get("id", waiting[0])
        if not isinstance(number, int) or number not in waiting:
            raise self._failure(f"replied to the id {brief(number)}, which waits for none", done)
        reason = str(reply.get("reason") or "")[:_MOST_REASON]
        if "error" in reply:
            return number, Opinion(None, str(reply["error"])[:_MOST_REASON])
        score, winner = reply.get("score"), reply.get("winner")
        if score is None and isinstance(winner, str):
            score = _WINNERS.get(winner.strip().lower())
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 1:
            right = '{"winner": "a"}, "b" or "tie", or {"score": P} with P from 0 to 1'
            raise self._failure(f"wrote {brief(reply)}; it should be {right}", done)
        return number, Opinion(float(score), reason)

    def _failure(self, what: str, done: int) -> DataError:
        kept = f"; what came before ({_replies(done)}) is kept, and the same command goes on from there"
        return DataError(f"the judge {_told(shlex.join(self.arguments))} {what}{kept if done else ''}")


def _not_started(program: str, why: str) -> ConfigError:
    return ConfigError(
        f"the judge {_told(program)} cannot be started: {why}; give a program that is there, such as "
        f"--judge 'python judge.py'"
    )


def _replies(number: int) -> str:
    return "1 reply" if number == 1 else f"{number:,} replies"


def _told(text: str, longest: int = 200) -> str:
    """What somebody else wrote, on one line and cut where it is long."""
    return readable(text if len(text) <= longest else f"{text[: longest - 4]} ...").replace("\n", "")


def _request(number: int, question: Question) -> bytes:
    messages = [message.as_dict() for message in question.prompt]
    told = {"id": number, "prompt": question.prompt[-1].content, "messages": messages}
    return json_line({**told, "a": question.a, "b": question.b})


class _Process:
    """The program while it runs, in a session of its own, so that what it starts ends with it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        # A pipe that nobody reads would fill, and the program would wait.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._errors.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise _not_started(arguments[0], str(why)) from None
        self._buffer = b""
        self._writer: threading.Thread | None = None

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever still runs."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._writer is not None:
            self._writer.join()
        self._out.close()
        self._errors.close()

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def send(self, requests: bytes) -> None:
        """Write all requests beside the reading, as the program may reply to the first before it reads the last."""
        self._writer = threading.Thread(target=self._send, args=(requests,), daemon=True)
        self._writer.start()

    def _send(self, requests: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it need not read them all
            self._process.stdin.write(requests)
        with suppress(OSError):
            self._process.stdin.close()

    def line(self, seconds: float) -> bytes | None:
        """The next line; None where the program has closed its output.

        Raises:
            TimeoutError: none came for so long.
            DataError: it is endless.
        """
        until = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._out], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            more = os.read(self._out.fileno(), 1 << 16)
            if not more:
                rest, self._buffer = self._buffer, b""
                return rest or None
            self._buffer += more
            if len(self._buffer) > _MOST_LINE and b"\n" not in self._buffer:
                raise DataError(
                    f"the judge wrote a line of more than {_MOST_LINE >> 20} MiB; a reply is one short line"
                )
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def ended(self) -> str:
        """How it ended, and the last line that it wrote to stderr."""
        try:
            code = self._process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            return "closed its output"
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _TAIL))
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return how + (f" ({_told(words[-1].strip())})" if words else "")
