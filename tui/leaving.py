"""What runs beside the application, and what becomes of it when that is closed: training goes on, the rest is ended."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich.text import Text

from mlxllm import paths
from mlxllm.data.draft import draft_folder
from tui import commands
from tui.active import active_runs
from tui.jobs import Job, Line
from tui.saying import Saying
from tui.words import visible

if TYPE_CHECKING:  # it is loaded when a model is first asked for
    from tui.engine import EngineClient

_THREADS_SECONDS = 1.5
"""For threads to end when all else is done."""
_STOP_SECONDS = 3.0
"""For a command of ours to save what it has when the application is closed."""
_MOST_NAMES = 3


class Leaving(Saying):
    """The children of the application, and its end."""

    def __init__(self, engine: "EngineClient | None" = None) -> None:
        """Nothing runs yet; `engine` is the client of the engine process, by default one of its own."""
        super().__init__()
        self._engine = engine
        self._jobs: set[Job] = set()
        self._leaving = False
        self.leave_within: float | None = None
        """Seconds after which the process ends whatever still runs in it; None where it is not the application's own."""

    @property
    def engine(self) -> "EngineClient":
        """The client of the engine process, which begins with the first request."""
        if self._engine is None:
            from tui.engine import EngineClient

            self._engine = EngineClient()
        return self._engine

    def run_job(
        self,
        args: Sequence[str],
        on_line: Callable[[Line], None],
        on_end: Callable[[Job], None] | None = None,
        **how: Any,
    ) -> Job:
        """Run `mlxllm ARGS` as a child.

        Args:
            args: what stands behind `mlxllm`.
            on_line: gets each line of stdout, an object where it is JSON.
            on_end: gets the job when it has ended: `returncode`, `error`, `cancelled`.
            how: see `Job`.
        """
        job = Job(args, on_line, **how)
        self._jobs.add(job)

        async def run() -> None:
            await job.run()
            self._jobs.discard(job)
            if on_end is not None:
                on_end(job)

        self.run_worker(run(), group="jobs")
        return job

    async def action_quit(self) -> None:
        """Leave; what trains goes on, commands of ours are stopped, and this says so. The second time: at once."""
        if self._leaving:
            self.exit()
            return
        self._leaving = True
        self.run_worker(self._leave(), group="leave")

    async def _leave(self) -> None:
        goes_on: list[str] = []
        with suppress(TimeoutError):
            goes_on = await asyncio.wait_for(asyncio.to_thread(active_runs), 1.0)
        lines = [_goes_on(goes_on)] if goes_on else []
        if stopped := list(self._jobs):
            self.tell(f"stopping {' and '.join(_name(job.args) for job in stopped)}; q leaves at once")
            await asyncio.gather(*(job.stop(_STOP_SECONDS) for job in stopped))
            lines += [_was_stopped(job.args) for job in stopped if job.returncode != 0]
        self.exit(message=Text(visible("\n".join(lines))) if lines else None)

    def _leave_by_signal(self, number: signal.Signals) -> None:
        self.exit(return_code=128 + number)

    async def on_unmount(self) -> None:
        """The engine process ends with the application; trainers do not."""
        self._end_after(self.leave_within)
        await asyncio.gather(*(job.stop(_STOP_SECONDS) for job in self._jobs))
        if self._engine is not None:
            await self._engine.close()
        # A thread that reads files may take long, or wait for an answer of this loop, which will not come any more.
        self._end_after(None if self.leave_within is None else min(_THREADS_SECONDS, self.leave_within))

    def _end_after(self, seconds: float | None) -> None:
        if seconds is not None:
            last = threading.Timer(seconds, lambda: os._exit(self.return_code or 0))
            last.daemon = True
            last.start()


def _goes_on(runs: Sequence[str]) -> str:
    """About runs that train on; at least one."""
    more = f" and {len(runs) - _MOST_NAMES} more" if len(runs) > _MOST_NAMES else ""
    verb = "goes on" if len(runs) == 1 else "go on"
    return f"{', '.join(runs[:_MOST_NAMES])}{more} {verb} training; `mlxllm monitor {runs[0]}` shows it again"


def _name(args: commands.Args) -> str:
    """What a command of ours is called."""
    build = _build(args)
    return f"the build of {build}" if build else f"`{commands.as_text(args)}`"


def _was_stopped(args: commands.Args) -> str:
    """About a command of ours that was stopped."""
    build = _build(args)
    if not build:
        return f"{_name(args)} was stopped"
    if draft_folder(paths.new("datasets", build)).is_dir():
        return f"{_name(args)} was stopped; what is done is kept, and `mlxllm data build {build}` goes on from there"
    return f"{_name(args)} was stopped before anything of it was written"


def _build(args: commands.Args) -> str:
    """The dataset that it builds, or nothing."""
    return args[2] if args[:2] == ("data", "build") else ""
