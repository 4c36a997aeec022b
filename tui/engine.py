"""The client of the engine process: it starts with the first request, and again with the next one if it has died."""

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from mlxllm import paths
from tui.engine_replies import Answer, Call, LoadedInfo, Tokens, explanation_of, loaded_of, tokens_of

State = Literal["off", "starting", "ready", "busy", "dead"]
"""`off`: not started yet, or closed; `dead`: it ended though nobody asked it to, and the next request starts it."""

LOG_FILE = "engine.log"
"""In `<home>/cache`: what the process last started wrote to stderr."""

_GRACE_SECONDS, _TERM_SECONDS = 1.0, 0.4
"""What it may take to end when asked to, and then when told to; after that it is killed."""
_CHUNK_BYTES = 1 << 16
_CLOSED = "the engine process was closed"

Messages = Sequence[Mapping[str, str]]
"""`{"role", "content"}` each."""


def engine_command() -> list[str]:
    """The argument list that starts the engine process with the Python that runs this."""
    # -P: a random.py in the working folder is not ours.
    return [sys.executable, "-P", "-m", "mlxllm.inference.engine"]


class EngineClient:
    """Asks the engine process; all of it on one event loop, which it never holds."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """Nothing is started yet.

        Args:
            command: what is started in place of the engine process.
        """
        self._command = list(command) if command is not None else engine_command()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._calls: dict[str, Call[Any]] = {}  # those that the process knows of
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = (f"{number}" for number in itertools.count(1))
        self._pinned: dict[tuple[str, str | None], tuple[str, str | None]] = {}
        self._listeners: list[Callable[[State], None]] = []
        self._state: State = "off"
        self._closing = False
        self.died_of = ""
        """How the process ended when nobody had asked it to, in a sentence."""

    @property
    def state(self) -> State:
        """Where the process stands."""
        return self._state

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process is not None else None

    def listen(self, on_change: Callable[[State], None]) -> Callable[[], None]:
        """Be told of every change of `state`, on the event loop; call what this returns to hear no more."""
        self._listeners.append(on_change)
        return lambda: self._listeners.remove(on_change) if on_change in self._listeners else None

    async def load(self, model: str, adapter: str | None = None) -> LoadedInfo:
        """Have a model in memory. From then on this name means the checkpoint that it meant here, until the next `load`.

        Args:
            model: as on a command line: RUN, RUN@STEP, RUN@best, or a folder.
            adapter: is stacked on it: a folder, or a run that trained one.

        Raises:
            EngineError: there is no such model, it cannot be used, or the process died.
        """
        call = Call(loaded_of)
        self._ask(call, next(self._ids), op="load", model=model, adapter=adapter)
        loaded = await call.done
        self._pinned[model, adapter] = (loaded.address, loaded.adapter)
        return loaded

    def generate(
        self,
        model: str,
        *,
        messages: Messages | None = None,
        text: str | None = None,
        sample: Mapping[str, float] | None = None,
        stop: Sequence[str] = (),
        top: int = 0,
        go_on: bool = False,
        adapter: str | None = None,
    ) -> Answer:
        """Ask for an answer to `messages`, or for the continuation of `text`; returns at once.

        Args:
            model: is loaded if need be.
            messages: a conversation, which ends with a question; for a model that was tuned to answer.
            text: is continued as it stands; any model does that.
            sample: fields of `mlxllm.config.SampleConfig`; without `seed` one is drawn, and `Done.seed` says which.
            stop: strings that end the text.
            top: so many of the likeliest tokens come with each.
            go_on: the last message is an answer that was cut off.
            adapter: is stacked on the model.
        """
        request_id = next(self._ids)
        answer = Answer(lambda: self._cancel(request_id))
        name, adapter = self._pinned.get((model, adapter), (model, adapter))
        asked: dict[str, Any] = {"messages": [dict(m) for m in messages]} if messages is not None else {"text": text}
        asked |= {"sample": dict(sample or {}), "stop": list(stop), "top": top, "continue": go_on}
        self._ask(answer, request_id, op="generate", model=name, adapter=adapter, **asked)
        return answer

    async def tokenize(
        self, model: str, *, messages: Messages | None = None, text: str | None = None, adapter: str | None = None
    ) -> Tokens:
        """The tokens that a model would read; it waits for an answer that is on its way.

        Raises:
            EngineError: see `load`.
        """
        call = Call(tokens_of)
        name, adapter = self._pinned.get((model, adapter), (model, adapter))
        asked: dict[str, Any] = {"messages": [dict(m) for m in messages]} if messages is not None else {"text": text}
        self._ask(call, next(self._ids), op="tokenize", model=name, adapter=adapter, **asked)
        return await call.done

    async def explain(
        self,
        model: str,
        *,
        messages: Messages | None = None,
        text: str | None = None,
        changes: Sequence[str] = (),
        shuffle: int | None = None,
        at: int = -1,
        maps: Sequence[int] | None = None,
        neighbours: int = 0,
        top: int = 10,
        adapter: str | None = None,
    ) -> Mapping[str, Any]:
        """What a model does with a prompt, as `mlxllm explain --json` prints it. Who is cancelled while waiting ends it.

        Args:
            model: is loaded if need be.
            messages: a conversation, which ends with a question; for a model that was tuned to answer.
            text: is read as it stands; any model does that.
            changes: interventions, as `mlxllm explain --off` has them.
            shuffle: a seed by which the tokens before `at` get another order.
            at: the position whose next token is told in full.
            maps: the layers whose attention maps come; by default all, where they are not too many.
            neighbours: so many nearest neighbours of each embedding.
            top: so many of the likeliest next tokens.
            adapter: is stacked on the model.

        Raises:
            EngineError: see `load`; or the prompt or an intervention does not fit the model.
        """
        request_id = next(self._ids)
        call = Call(explanation_of)
        call.done.add_done_callback(lambda done: self._cancel(request_id) if done.cancelled() else None)
        name, adapter = self._pinned.get((model, adapter), (model, adapter))
        asked: dict[str, Any] = {"messages": [dict(m) for m in messages]} if messages is not None else {"text": text}
        asked |= {"changes": list(changes), "shuffle": shuffle, "at": at, "neighbours": neighbours, "top": top}
        asked |= {"maps": list(maps) if maps is not None else None}
        self._ask(call, request_id, op="explain", model=name, adapter=adapter, **asked)
        return await call.done

    async def close(self) -> None:
        """End the process, within two seconds; what was asked of it fails. The next request would start it again."""
        for task in list(self._tasks):
            task.cancel()
        async with self._starting:
            process, reader = self._process, self._reader
            if process is None or reader is None:
                self._set_state("off")
                return
            self._closing = True
            try:
                self._write(process, {"op": "shutdown"})
                assert process.stdin is not None
                process.stdin.close()
                for seconds, then in ((_GRACE_SECONDS, signal.SIGTERM), (_TERM_SECONDS, signal.SIGKILL)):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(asyncio.shield(reader), seconds)
                        return
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, then)
                await reader
            finally:
                self._closing = False

    def _ask(self, call: Call[Any], request_id: str, **request: Any) -> None:
        """Send a request, as soon as there is a process."""
        task = asyncio.get_running_loop().create_task(self._send(call, request_id, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: call.fail(_CLOSED) if task.cancelled() else None)

    async def _send(self, call: Call[Any], request_id: str, request: Mapping[str, Any]) -> None:
        try:
            process = await self._running()
        except OSError as error:
            call.fail(f"the engine process cannot be started: {error.strerror or error}")
            return
        self._calls[request_id] = call
        self._update_state()
        self._write(process, {**request, "id": request_id})
        if isinstance(call, Answer) and call.cancelled:
            self._cancel(request_id)

    def _cancel(self, request_id: str) -> None:
        if self._process is not None and request_id in self._calls:
            self._write(self._process, {"op": "cancel", "id": next(self._ids), "target": request_id})

    def _write(self, process: asyncio.subprocess.Process, request: Mapping[str, Any]) -> None:
        """Hand a line over; where the process has died, `_read` says so to all that wait."""
        if process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(json.dumps(request).encode() + b"\n")

    async def _running(self) -> asyncio.subprocess.Process:
        """The process, started if need be.

        Raises:
            OSError: it cannot be started.
        """
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return self._process
            if self._reader is not None:  # it has died, and those that wait are about to be told
                await asyncio.shield(self._reader)
            self._set_state("starting")
            try:
                self._process = await self._start()
            except OSError as error:
                self.died_of = f"the engine process cannot be started: {error.strerror or error}"
                self._set_state("dead")
                raise
            self._reader = asyncio.get_running_loop().create_task(self._read(self._process))
            return self._process

    async def _start(self) -> asyncio.subprocess.Process:
        log = _log_file()
        with open(log if log is not None else os.devnull, "wb") as stderr:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C in the terminal is the application's own
            )

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Take in the process's lines, however long, until it ends; then whoever waits is told."""
        assert process.stdout is not None
        held = bytearray()
        while chunk := await process.stdout.read(_CHUNK_BYTES):
            *whole, rest = chunk.split(b"\n")
            for line in whole:
                self._take(bytes(held) + line)
                held.clear()
            held += rest
        code = await process.wait()
        closing = self._closing
        message = _CLOSED if closing else await asyncio.to_thread(_how_it_ended, code)
        self.died_of = "" if closing else message
        self._process = self._reader = None
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.fail(message)
        self._set_state("off" if closing else "dead")

    def _take(self, line: bytes) -> None:
        """Take in one line; what is no reply to anything that waits is passed over."""
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(reply, dict):
            return
        event, request_id = reply.get("event"), reply.get("id")
        if event == "ready":
            self._set_state("busy" if self._calls else "ready")
            return
        call = self._calls.get(request_id) if isinstance(request_id, str) else None
        if call is None or not isinstance(request_id, str):
            return
        if event == "token":
            with suppress(TypeError, ValueError):  # one that is damaged is left out; the end has the whole text
                call.take_token(reply)
            return
        del self._calls[request_id]
        if event == "error":
            call.fail(str(reply.get("message")))
        else:
            call.end(reply)
        self._update_state()

    def _update_state(self) -> None:
        """A process that has said that it is ready is busy or not."""
        if self._state in ("ready", "busy"):
            self._set_state("busy" if self._calls else "ready")

    def _set_state(self, state: State) -> None:
        if state != self._state:
            self._state = state
            for listener in self._listeners:
                # Not at once: what goes wrong there must not end the reading here.
                asyncio.get_running_loop().call_soon(listener, state)


def _log_file() -> Path | None:
    """Where the process's stderr goes; None where nothing can be written there."""
    folder = paths.folder("cache")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG_FILE).touch()
    except OSError:
        return None
    return folder / LOG_FILE


def _how_it_ended(code: int) -> str:
    """A sentence on an end that nobody had asked for."""
    again = "your next message starts it again"
    if code < 0:
        return f"the engine process was killed (signal {-code}); {again}"
    log = paths.folder("cache") / LOG_FILE
    try:
        with open(log, "rb") as file:
            file.seek(max(log.stat().st_size - 4096, 0))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        lines = []
    last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "it said nothing")
    return f"the engine process ended with exit code {code} ({last}); {again}"
