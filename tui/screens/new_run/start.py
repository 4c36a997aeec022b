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


class StartsRuns(ModeScreen):
    """The part of the New run screen that has to do with other processes."""

    def __init__(self) -> None:
        """Nothing is being done yet."""
        super().__init__()
        self.draft = Draft()
        self._checking: Job | None = None
        self._measuring: Job | None = None
        self._starting = False
        self._said = ""

    def obstacle(self) -> str:
        """Why the run cannot be started as it is; "" where it can."""
        raise NotImplementedError

    def advice(self) -> str:
        """What to think about before it is started."""
        raise NotImplementedError

    def show_draft(self) -> None:
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
        elif self._measuring is not None:
            note = Content("measuring how fast this machine trains; some ten seconds ...")
        elif self._said:
            note = Content(self._said)
        elif wrong := self.obstacle():
            note = problem(wrong)
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
        run = self.draft.run
        try:
            started = await self.mlx.launch(run, self.draft.args())
        finally:
            self._starting = False
        if not started:
            return
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
            self.mlx.tell("this machine is being measured already")
            return

        def end(job: Job) -> None:
            self._measuring = None
            if job.returncode == 0:
                self.mlx.tell("measured: from now on the times are this machine's own")
            elif not job.cancelled:
                self.mlx.fail(job.error)
            self.look_again()

        self._measuring = self.mlx.run_job(commands.measure_speed(), lambda line: None, end)
        self.show_note()
