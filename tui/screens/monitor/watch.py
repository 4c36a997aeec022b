"""The part of the Monitor that reads: the run that is watched, those beside it, and which one to begin with."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from textual import work

from mlxllm import paths
from mlxllm.errors import UserError
from mlxllm.runs import (
    ACTIVE,
    Launch,
    RunDirectory,
    all_runs,
    ancestors,
    effective_status,
    find_run,
    list_runs,
    log_tail,
    read_launch,
    read_state,
)
from tui.following.follow import RunFollower
from tui.following.run_view import RunView
from tui.screens.base import ModeScreen
from tui.screens.monitor.charts import LETTERS
from tui.screens.monitor.words import exam_of, stage_of, waited_seconds

_LOOK_SECONDS = 0.25
_IDLE_SECONDS = 1.5
"""Between two looks at a run that does not train, and at a home without runs."""
_STAGE_SECONDS = 3600.0
"""For so long after its end a run is asked for one that goes on from it; that means looking at all runs."""


@dataclass(frozen=True)
class Seen:
    """What one look has found."""

    view: RunView
    others: dict[str, RunView] = field(default_factory=dict)
    """Letter -> run beside it."""
    waited: float = 0.0
    """Seconds since the trainer was started."""
    successor: str = ""
    """A run that trains now, on this one's model."""
    goes_on: bool = False
    """The command that started the run has more to do: the other stages of a quickstart."""
    stage: str = ""
    """What that command says it does now."""
    left: float | None = None
    """Seconds that all stages of a quickstart still take."""
    exam: str = ""
    """How the stages of a quickstart did, when it is over and this is the last of them."""


class WatchingScreen(ModeScreen):
    """Follows a run in a worker thread; `seen` gets what it finds, on the event loop."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        super().__init__()
        self.follower: RunFollower | None = None
        self.others: list[RunFollower] = []
        self._looking = False
        self._last_look = 0.0
        self._nothing = False
        self._asked: tuple[str, tuple[str, ...]] | None = None
        """The run and those beside it that were asked for last."""

    # What a screen makes of it.

    def seen(self, found: Seen) -> None:
        """A look at the run."""
        raise NotImplementedError

    def nothing_there(self) -> None:
        """There are no runs at all."""
        raise NotImplementedError

    def watch_anew(self) -> None:
        """Another run is watched from now on."""
        raise NotImplementedError

    # What is watched.

    @property
    def run(self) -> RunDirectory | None:
        """The run that is watched."""
        return self.follower.run if self.follower is not None else None

    @property
    def typed_name(self) -> str:
        """What stands for the run in a command."""
        run = self.run
        if run is None:
            return "RUN"
        return run.name if run.address == run.name else os.path.abspath(run.path)

    def on_mount(self) -> None:
        """Begin with the newest run, unless another one is asked for at once."""
        self.set_interval(_LOOK_SECONDS, self._tick)
        self.call_after_refresh(self._begin)

    def on_screen_resume(self) -> None:
        """Another screen was open: look at once."""
        self._last_look = 0.0
        self._tick()

    def _begin(self) -> None:
        if self._asked is None:
            self.show_run("")

    def show_run(self, run: str, *, overlay: Sequence[str] = ()) -> None:
        """Watch a run.

        Args:
            run: its name or path; "" is the newest one that trains, else the newest.
            overlay: names or paths of runs whose curves lie beside it.
        """
        self._asked = (run, tuple(overlay))
        self._open(self._asked)

    @work(thread=True, exclusive=True, group="open-run")
    def _open(self, asked: tuple[str, tuple[str, ...]]) -> None:
        name, overlay = asked
        try:
            run = find_run(name) if name else newest_run()
        except UserError as error:
            self.app.call_from_thread(self.mlx.fail, error)
            run = newest_run() if self.follower is None else None
            if run is None and self.follower is not None:
                return
        others = []
        for each in overlay:
            try:
                others.append(RunFollower(find_run(each)))
            except UserError as error:
                self.app.call_from_thread(self.mlx.fail, error)
        self.app.call_from_thread(self._opened, asked, run, others)

    def _opened(self, asked: tuple[str, tuple[str, ...]], run: RunDirectory | None, others: list[RunFollower]) -> None:
        if asked is not self._asked:
            return  # another one was asked for while this one was looked for
        if run is None:
            self._nothing = True
            self.nothing_there()
            return
        if self.follower is None or run.path != self.follower.run.path:
            self.follower = RunFollower(run)
            self.watch_anew()
        if others or self.others:
            self.lay_beside([other for other in others if other.run.path != run.path])
        self._nothing, self._last_look = False, 0.0
        self._tick()

    def lay_beside(self, others: list[RunFollower]) -> None:
        """Show the curves of other runs as well."""
        self.others = others[: len(LETTERS)]
        self._last_look = 0.0

    # Looking.

    def _tick(self) -> None:
        """Look again, if it is time and the last look is over."""
        if self._looking or self not in self.app.screen_stack:
            return
        active = self.follower is not None and self.follower.view.active
        due = (
            _LOOK_SECONDS
            if active or (self.follower is not None and not self.follower.view.complete)
            else _IDLE_SECONDS
        )
        if time.monotonic() - self._last_look < due * 0.9:
            return
        if self.follower is None:
            if self._nothing:
                self._last_look = time.monotonic()
                self.show_run("")
            return
        self._looking, self._last_look = True, time.monotonic()
        self._look(self.follower, list(self.others))

    @work(thread=True, group="look")
    def _look(self, follower: RunFollower, others: list[RunFollower]) -> None:
        view = follower.poll()
        beside = dict(zip(LETTERS, [other.poll() for other in others], strict=False))
        own = read_launch(follower.run)
        waited = waited_seconds(view, own.started if own is not None else None)
        ended = view.status == "finished"
        fresh = view.state is not None and time.time() - view.state.heartbeat < _STAGE_SECONDS
        successor = _successor(follower.run) if ended and fresh else ""
        behind, launch = (
            _command_behind(follower.run, own) if view.active or (ended and fresh) else (follower.run, None)
        )
        alive = launch is not None and launch.is_alive()
        log = log_tail(behind) if launch is not None and "quickstart" in launch.argv else ""
        stage = stage_of(log) if alive else ""
        exam = exam_of(log) if ended and not alive and view.about.get("method") == "dpo" else ""
        seen = Seen(view, beside, waited, successor, ended and alive, stage, _left(launch) if alive else None, exam)
        self.app.call_from_thread(self._looked, follower, seen)

    def _looked(self, follower: RunFollower, found: Seen) -> None:
        self._looking = False
        if follower is not self.follower:  # another run was chosen meanwhile
            self._last_look = 0.0
            self._tick()
            return
        self.seen(found)
        if not all(view.complete for view in (found.view, *found.others.values())):
            self._last_look = 0.0
            self._tick()


def newest_run() -> RunDirectory | None:
    """The newest run that trains, else the newest; None where there is none."""
    found = list_runs()
    trains = [run for run in found if run.status in ACTIVE]
    return RunDirectory(paths.folder("runs") / (trains or found)[0].name) if found else None


def _command_behind(run: RunDirectory, own: Launch | None) -> tuple[RunDirectory, Launch | None]:
    """The command that started a run, and the run in whose folder it writes its log.

    Of a quickstart's runs only the first is started by itself; the command trains the others as well.
    """
    if own is None:
        for stage in ancestors(run)[:-1]:
            launch = read_launch(stage.run)
            if launch is not None and "quickstart" in launch.argv:
                return stage.run, launch
    return run, own


def _left(launch: Launch | None) -> float | None:
    """Seconds that a quickstart still takes, by the minutes that it was given; None where that is not known."""
    if launch is None or "--minutes" not in launch.argv[:-1]:
        return None
    minutes = launch.argv[launch.argv.index("--minutes") + 1]
    try:
        return max(0.0, launch.started + 60 * float(minutes) - time.time())
    except ValueError:
        return None


def _successor(run: RunDirectory) -> str:
    """The name of a run that trains now and began with the model of `run`; "" where there is none."""
    for other in all_runs():
        try:
            state = read_state(other)
            if state is None or not state.is_active or effective_status(other, state) not in ACTIVE:
                continue
        except UserError:
            continue
        model = state.about.get("model")
        if isinstance(model, str) and model.partition("@")[0] == run.name:
            return other.name
    return ""
