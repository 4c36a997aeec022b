"""The part of the Monitor that steers: requests to the trainer, and going on with a run that has ended."""

from textual import work

from mlxllm.errors import UserError
from mlxllm.runs import RequestName, RunDirectory, request
from tui import commands
from tui.following.run_view import RunView
from tui.planning.extend import QUESTION, how_far
from tui.screens.monitor.talk import Waiting
from tui.screens.monitor.watch import Seen, WatchingScreen

FIRST_PROMPT = "Once upon a time"
_TELL = {
    "pause": "{} pauses after the current step",
    "resume": "{} goes on",
    "checkpoint": "{} writes a checkpoint after the current step",
    "sample": "{} writes a sample after the current step",
    "stop": "{} stops after the current step and saves",
}
ANSWERING = frozenset({"running", "paused", "starting"})
"""In these states the trainer takes requests."""


class SteeringScreen(WatchingScreen):
    """What the keys do to the run; what is shown is `MonitorScreen`'s."""

    found: Seen | None = None
    """What the last look has found."""

    @property
    def view(self) -> RunView | None:
        """What is known of the run."""
        return self.found.view if self.found is not None else None

    def bring_to_front(self, name: str, *, newest: bool = False) -> None:
        """Show a part of the screen: talk, samples or log; with `newest`, the newest sample."""
        raise NotImplementedError

    def asked(self, waiting: Waiting) -> None:
        """A prompt is on its way to the trainer."""
        raise NotImplementedError

    def action_pause(self) -> None:
        """Hold after the current step."""
        self._ask("pause")

    def action_unpause(self) -> None:
        """Go on."""
        self._ask("resume")

    def action_save(self) -> None:
        """Write a checkpoint now."""
        self._ask("checkpoint")

    @work
    async def action_stop(self) -> None:
        """Ask, then stop."""
        run = self.run
        if run is not None and await self.mlx.confirm(
            f"Stop {run.name}? It saves after the current step, and r goes on with it whenever you like.", "Stop"
        ):
            self._ask("stop")

    def action_sample(self) -> None:
        """Have a sample written now, to the same prompt as the last one."""
        samples = self.view.samples if self.view is not None else ()
        own = [sample.prompt for sample in samples if sample.request is None and sample.prompt]
        prompt = own[-1] if own else FIRST_PROMPT
        self.bring_to_front("samples", newest=True)
        self._ask("sample", prompt)

    def _ask(self, name: RequestName, prompt: str | None = None, *, talk: bool = False) -> None:
        """Leave a request in the run directory; the trainer takes it between two steps."""
        run, view = self.run, self.view
        if run is None or view is None:
            return
        if name == "sample" and prompt is not None:
            self.twin = commands.ask_trainer(self.typed_name, prompt)
        else:
            self.twin = commands.steer(name, self.typed_name)
        self._send(run, name, prompt, view.step, talk)

    @work(thread=True, group="requests")
    def _send(self, run: RunDirectory, name: RequestName, prompt: str | None, step: int, talk: bool) -> None:
        try:
            made = request(run, name, None if prompt is None else {"prompt": prompt})
        except UserError as error:
            self.app.call_from_thread(self.mlx.fail, error)
            return
        if talk:
            self.app.call_from_thread(self.asked, Waiting(made, prompt or "", step))
        else:
            self.app.call_from_thread(self.mlx.tell, _TELL[name].format(run.name))

    @work
    async def action_resume(self) -> None:
        """Go on from the last checkpoint; a finished run is asked how far."""
        run, view = self.run, self.view
        if run is None or view is None:
            return
        args = commands.resume(self.typed_name)
        if view.status == "finished":
            answer = await self.mlx.ask(
                QUESTION.format(run.name),
                placeholder="10 min, or 500 steps",
                check=lambda text: how_far(text, view.step),
            )
            if answer is None:
                return
            args = commands.resume(self.typed_name, **how_far(answer, view.step))
        self.twin = args
        if await self.mlx.launch(str(run.path.absolute()), args):
            self.mlx.tell(f"{run.name} goes on; its first step comes in 10 to 30 s")

    def talk(self, prompt: str) -> bool:
        """Ask the trainer; False where nobody trains."""
        if self.view is None or self.view.status not in ANSWERING:
            self.mlx.warn("nobody trains this run now, so nobody answers here: esc, then c talks to it")
            return False
        self._ask("sample", prompt, talk=True)
        return True
