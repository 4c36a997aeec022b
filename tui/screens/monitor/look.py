"""The part of the Monitor that looks: which number, axis and scale, and which runs; talking to a checkpoint."""

import asyncio
from pathlib import Path

from textual import work

from mlxllm.runs import Probe, RunDirectory, checkpoint_steps
from tui.following.follow import RunFollower
from tui.following.series import AXES
from tui.screens.monitor.charts import LETTERS, METRICS, Metric, metrics_of
from tui.screens.monitor.passage import PassageView
from tui.screens.monitor.runs import RunPicker
from tui.screens.monitor.steer import ANSWERING, SteeringScreen
from tui.widgets.chart import Chart


class LookingScreen(SteeringScreen):
    """What the keys change about what is seen; the parts themselves are `MonitorScreen`'s."""

    metric: Metric = METRICS[0]
    """The number in the chart."""

    def show(self) -> None:
        """Show what was found last."""
        raise NotImplementedError

    @property
    def chart(self) -> Chart:
        """The chart of the number that is chosen."""
        return self.query_one("#chart", Chart)

    @work(exclusive=True, group="chat")
    async def action_chat(self) -> None:
        """Talk to the last checkpoint; where there is none, say what there is to talk to."""
        run, view = self.run, self.view
        if run is None or view is None:
            return
        if await asyncio.to_thread(checkpoint_steps, run):
            self.mlx.open_chat(self.typed_name)
        elif view.status in ANSWERING:
            self.mlx.warn(f"{run.name} has no checkpoint yet: w writes one, and t talks to the model in memory")
        elif view.active:
            self.mlx.warn(f"{run.name} has no checkpoint yet: it writes one now")
        else:
            self.mlx.warn(f"{run.name} has no checkpoint, so there is no model to talk to; a shows another run")

    def action_axis(self) -> None:
        """Over steps, tokens, time."""
        for chart in self.query(Chart):
            chart.axis = AXES[(AXES.index(chart.axis) + 1) % len(AXES)]

    def action_log(self) -> None:
        """Logarithmic values, and back."""
        self.chart.log_scale = not self.chart.log_scale

    def action_metric(self) -> None:
        """The next number in the chart."""
        if self.view is None:
            return
        known = metrics_of(self.view)
        at = known.index(self.metric) if self.metric in known else -1
        self.metric = known[(at + 1) % len(known)]
        self.show()

    def action_passage(self) -> None:
        """The held-out passage, each token coloured by its loss."""
        view = self.view
        if view is None:
            return
        if view.probe is None:
            soon = " yet; the next validation does" if view.active else ", for nothing was held out or it is an old run"
            self.mlx.warn(f"{view.name} has kept no losses of single tokens{soon}")
            return
        follower = self.follower

        def newest() -> Probe | None:
            return follower.view.probe if follower is not None else None

        self.app.push_screen(PassageView(newest, view.name, self.typed_name, self.mlx.marks))

    @work
    async def action_another(self) -> None:
        """Watch another run."""
        run = self.run
        chosen = await self.app.push_screen_wait(
            RunPicker("Which run?", without=str(run.path.absolute()) if run is not None else "")
        )
        if chosen:
            self.lay_beside([])
            self.show_run(chosen[0])

    @work
    async def action_overlay(self) -> None:
        """Lay other runs beside this one."""
        run = self.run
        if run is None:
            return
        marked = [str(other.run.path.absolute()) for other in self.others]
        chosen = await self.app.push_screen_wait(
            RunPicker(
                "Which runs beside it?",
                several=True,
                without=str(run.path.absolute()),
                marked=marked,
                most=len(LETTERS),
            )
        )
        if chosen is not None:
            known = {str(other.run.path.absolute()): other for other in self.others}
            self.lay_beside([known.get(path) or RunFollower(RunDirectory(Path(path))) for path in chosen])
