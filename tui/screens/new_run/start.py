"""What a prepared run can be asked for: to be started, to be checked, and to have its machine measured."""

from textual import on, work
from textual.content import Content
from textual.widgets import Button, Static

from mlxllm import paths
from mlxllm.runs import RunDirectory
from tui import commands
from tui.jobs import Job, Line
from tui.planning.draft import Draft
from tui.planning.starting import failed_start
from tui.screens.base import ModeScreen
from tui.screens.new_run.form import problem
from tui.screens.new_run.panels import dry_run_text
from tui.widgets.dialogs import Reading

_STAYS_SECONDS = 1.0
"""Who has been here so long may want to know how long training takes."""


class StartsRuns(ModeScreen):
    """The part of the New run screen that has to do with other processes."""

    def __init__(self) -> None:
        """Nothing is being done yet."""
        super().__init__()
        self.draft = Draft()
        self._checking: Job | None = None
        self._measuring: Job | None = None
        self._unasked = False
        """The measurement was begun by the screen itself."""
        self._measures = True
        """Whether it may be; not after one that failed, nor once a run was started here."""
        self._starting = False
        self._said = ""

    def obstacle(self) -> str:
        """Why the run cannot be started as it is; "" where it can."""
        raise NotImplementedError

    def advice(self) -> str:
        """What to think about before it is started."""
        raise NotImplementedError

    def show_draft(self, *, keep_note: bool = False) -> None:
        """Show the draft as it is now."""
        raise NotImplementedError

    def look_again(self) -> None:
        """Look again what there is."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Leave a sentence above the buttons, until something is changed."""
        self._said = text
        self.show_note()

    def show_note(self) -> None:
        """What is being done, what was said, or what stands in the way."""
        if self._checking is not None:
            note = Content("dry run: checking all that training would; some seconds ...")
        elif self._said:
            note = Content(self._said)
        elif wrong := self.obstacle():
            note = problem(wrong)
        elif self._measuring is not None:
            note = Content("measuring how fast this machine trains; some ten seconds, you need not wait ...")
        elif advice := self.advice():
            note = Content.assemble(("! ", "bold $warning"), advice)
        else:
            note = Content.assemble(("Either way it trains on when you close mlxllm.", "$text-muted"))
        self.query_one("#note", Static).update(note)

    @on(Button.Pressed)
    def _button(self, event: Button.Pressed) -> None:
        self.start(watch=event.button.id == "start")

    @work(group="start")
    async def start(self, *, watch: bool) -> None:
        """Start the run as a process of its own, and with `watch` go to its Monitor."""
        if self._starting:
            self.mlx.tell("it is being started already")
            return
        if wrong := self.obstacle():
            self.mlx.warn(wrong)
            return
        self._starting = True
        self.leave_unmeasured()
        run = self.draft.run
        try:
            started = await self.mlx.launch(run, self.draft.args())
        finally:
            self._starting = False
        if not started:
            return
        self._measures = False  # beside a run that trains the measurement would be of half a machine
        self._see_off(run)
        self.draft = self.draft.with_(name="")
        self.show_draft()
        if watch:
            self.mlx.open_monitor(run)
        else:
            address = RunDirectory(paths.new("runs", run)).address
            self.say(f"{run} trains on its own; 4 or `{commands.as_text(commands.monitor(address))}` shows it")

    @work(group="starts")
    async def _see_off(self, run: str) -> None:
        """Say so where the trainer gives up before it has begun."""
        if wrong := await failed_start(RunDirectory(paths.new("runs", run))):
            self.mlx.fail(f"{run} did not start: {wrong}")
            self.say(f"! {run} did not start: {wrong}")

    def action_dry_run(self) -> None:
        """Check all that training would, and show costs and settings."""
        if self._checking is not None:
            self.mlx.tell("it is being checked already")
            return
        if wrong := self.obstacle():
            self.mlx.warn(wrong)
            return
        args = self.draft.args(dry_run=True)
        lines: list[Line] = []

        def end(job: Job) -> None:
            self._checking = None
            report = next((line for line in lines if isinstance(line, dict)), None)
            if job.returncode == 0 and report is not None:
                self.app.push_screen(Reading(commands.as_text(args), dry_run_text(report)))
                self.show_note()
            elif not job.cancelled:
                self.mlx.fail(f"dry run: {job.error}")
                self.say(f"! {job.error}")

        self._checking = self.mlx.run_job((*args, "--json"), lines.append, end)
        self.show_note()

    def action_measure(self) -> None:
        """Time this machine, so that the application knows how long a run takes."""
        if self._measuring is not None:
            self.mlx.tell("this machine is being measured already; some ten seconds")
            return
        self._measure(unasked=False)

    def measure_soon(self) -> None:
        """Measure without being asked, if the screen is still open in a moment."""
        self.set_timer(_STAYS_SECONDS, self._measure_unasked)

    def _measure_unasked(self) -> None:
        if self._measures and self._measuring is None and self._is_open and not self._starting and self.may_measure():
            self._measure(unasked=True)

    def may_measure(self) -> bool:
        """Whether no speed is known yet, and nothing trains that would falsify it."""
        raise NotImplementedError

    @property
    def _is_open(self) -> bool:
        """Whether it is this screen that the user looks at, or a dialog above it."""
        return self.mlx.current_mode == self.MODE

    def _measure(self, *, unasked: bool) -> None:
        def end(job: Job) -> None:
            if self._measuring is job:
                self._measuring = None
            if job.returncode == 0:
                found = next((line for line in lines if isinstance(line, dict)), {})
                told = "measured: from now on the times are this machine's own"
                if found.get("busy") or found.get("loaded"):
                    told += "; something else kept it busy, so it may be faster: m measures again"
                self.mlx.tell(told)
            elif not job.cancelled:
                self._measures = False
                self.say(f"! this machine could not be measured: {job.error}")
            self.look_again()

        lines: list[Line] = []
        self._unasked = unasked
        self._measuring = self.mlx.run_job((*commands.measure_speed(), "--json"), lines.append, end)
        self.show_draft(keep_note=True)

    def leave_unmeasured(self) -> None:
        """Give up a measurement that nobody has asked for."""
        if self._measuring is not None and self._unasked:
            self._measuring.cancel()
            self._measuring = None

    def on_screen_suspend(self) -> None:
        """Another screen is looked at; what was begun here unasked must not slow it down."""
        if not self._is_open:
            self.leave_unmeasured()
