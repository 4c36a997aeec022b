"""Monitor: a run as it trains, or as it was; talking to the model while it learns; pause, stop, resume."""

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import Input, Static

from tui import commands, machine
from tui.screens.monitor.charts import METRICS, metrics_of, place_of, traces_of
from tui.screens.monitor.look import LookingScreen
from tui.screens.monitor.panels import LogPanel, Panel, SamplesPanel
from tui.screens.monitor.passage import PassageView
from tui.screens.monitor.steer import ANSWERING, FIRST_PROMPT
from tui.screens.monitor.talk import TalkPanel, Waiting
from tui.screens.monitor.watch import Seen
from tui.screens.monitor.words import alert_lines, empty_sentence, head_line, numbers_line, sentence, sources_line
from tui.widgets.chart import Chart

BASELINE = "baseline"
"""Of `Remembered`: the run that others are compared with; dashed in the chart."""
_CHART_KEYS = "n number  v axis  l log  + - zoom"
_ROWS_FOR_TWO = 30


class MonitorScreen(LookingScreen):
    """One run: its curves, numbers, samples and log."""

    MODE = "monitor"
    ABOUT = (
        "Monitor shows a run while it trains, and afterwards. Write to it in the line under Talk: the trainer answers "
        "between two steps with the very weights that it trains, so you see it learn to speak."
    )
    HINT = "t talks to the model while it trains; f1 lists all keys, as ? does outside of a line."
    WORDS = (
        *("attempt", "baseline", "bits per byte", "checkpoint", "DPO", "EMA", "ETA", "gradient norm", "learning rate"),
        *("loss", "margin", "memory", "non-finite", "overlay", "reward", "run", "sample", "spike", "stall", "step"),
        *("tok/s", "token", "validation"),
    )
    PARTS = (Chart, SamplesPanel, PassageView)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (36, "-tall")]  # noqa: RUF012  # Screen declares it without ClassVar
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", id="monitor.pause"),
        Binding("p", "unpause", "Go on", id="monitor.unpause", tooltip="Go on after a pause"),
        Binding("w", "save", "Save now", id="monitor.checkpoint", tooltip="Write a checkpoint now"),
        Binding("x", "stop", "Stop", id="monitor.stop", tooltip="Stop after the current step, and save"),
        Binding("r", "resume", "Go on", id="monitor.resume", tooltip="Resume it, or train it further"),
        Binding("m", "sample", "Sample", id="monitor.sample", tooltip="Have it write a sample now"),
        Binding("c", "chat", "Chat", id="monitor.chat", tooltip="Talk to its last checkpoint"),
        Binding("t", "panel('talk')", "Talk", show=False, id="monitor.talk", tooltip="Talk to it while it trains"),
        Binding("s", "panel('samples')", "Samples", show=False, id="monitor.samples"),
        Binding("g", "panel('log')", "Log", show=False, id="monitor.log"),
        Binding("n", "metric", "Numbers", show=False, id="monitor.metric", tooltip="Show another number in the chart"),
        Binding("v", "axis", "Axis", show=False, id="monitor.axis", tooltip="Over steps, tokens or time"),
        Binding("l", "log", "Log y", show=False, id="monitor.log_scale", tooltip="Logarithmic values, and back"),
        Binding("h", "passage", "Held out", id="monitor.passage", tooltip="A held-out text, coloured as it is learnt"),
        Binding("o", "overlay", "Overlay", id="monitor.overlay", tooltip="Lay other runs beside it"),
        Binding("a", "another", "Other run", id="monitor.another", tooltip="Watch another run"),
    ]
    DEFAULT_CSS = """
    MonitorScreen #about { height: 2; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    MonitorScreen #sources { height: 1; padding: 0 1; display: none; text-wrap: nowrap; text-overflow: ellipsis; }
    MonitorScreen #sentence { height: auto; max-height: 4; padding: 0 1; color: $foreground; }
    MonitorScreen #alerts { height: auto; max-height: 5; padding: 0 1; }
    MonitorScreen #nothing { height: 1fr; padding: 2 4; display: none; }
    MonitorScreen #main { height: 1fr; layout: vertical; }
    MonitorScreen #charts { height: 1fr; width: 1fr; }
    MonitorScreen #panels { height: 8; }
    MonitorScreen .panel { display: none; }
    MonitorScreen .panel.-front { display: block; }
    MonitorScreen.-normal #main, MonitorScreen.-wide #main { layout: horizontal; }
    MonitorScreen.-normal #panels { width: 44; height: 1fr; margin-left: 1; }
    MonitorScreen.-wide #panels { width: 62; height: 1fr; margin-left: 1; }
    MonitorScreen.-tall.-normal .panel, MonitorScreen.-tall.-wide .panel { display: block; }
    """

    def __init__(self) -> None:
        """Nothing is watched yet."""
        super().__init__()
        self._machine: machine.Machine | None = None
        self._front_chosen = False
        self._drawn: tuple[object, ...] = ()
        self._followed: set[str] = set()
        """Stages of a quickstart to which the screen has gone on by itself; once is enough."""
        self._pointing = False
        """The chart's cursor shows where a sample was written."""

    def compose_body(self) -> ComposeResult:
        yield Static(id="about", markup=False)
        yield Static(id="sources", markup=False)
        yield Static(id="sentence", markup=False)
        yield Static(id="alerts", markup=False)
        yield Static(
            "There are no runs yet.\n\n1, then t: a model in minutes.\n3: choose everything yourself.",
            id="nothing",
            markup=False,
        )
        with Horizontal(id="main"):
            with Vertical(id="charts"):
                yield Chart("loss", marks=self.mlx.marks, empty="reading the run ...", keys=_CHART_KEYS, id="chart")
                yield Chart("rewards", marks=self.mlx.marks, id="second")
            with Vertical(id="panels"):
                yield TalkPanel(id="talk").add_class("panel", "-front")
                yield SamplesPanel(self.mlx.marks, id="samples").add_class("panel")
                yield LogPanel(id="log").add_class("panel")

    def home_focus(self) -> Widget | None:
        return self.chart

    def on_mount(self) -> None:
        """Ask the machine for its memory, and begin."""
        super().on_mount()
        self.twin = commands.monitor()
        self.query_one("#second").display = False
        self._ask_machine()
        self.chart.focus()

    @work(thread=True, group="machine")
    def _ask_machine(self) -> None:
        found = machine.this_machine()
        self.app.call_from_thread(setattr, self, "_machine", found)

    def on_resize(self) -> None:
        """There may be room for a second chart now."""
        self._drawn = ()
        self.show()

    # Showing.

    def nothing_there(self) -> None:
        """No run at all: say how to make one."""
        self.found = None
        self.query_one("#nothing").display = True
        self.query_one("#main").display = False
        self.refresh_bindings()

    def watch_anew(self) -> None:
        """Forget what belonged to the run before."""
        self.found, self._drawn, self._front_chosen, self.metric = None, (), False, METRICS[0]
        self.query_one("#nothing").display = False
        self.query_one("#main").display = True
        self.query_one(TalkPanel).forget()
        self.query_one(SamplesPanel).forget()
        for chart in self.query(Chart):
            chart.traces = ()
            chart.empty = "reading the run ..."
            chart.action_fit()
        self.twin = commands.monitor(self.typed_name)

    def seen(self, found: Seen) -> None:
        """Show what a look has found."""
        before, went_on = self.view, self.found is not None and self.found.goes_on
        self.found = found
        view = found.view
        if not self._front_chosen and view.complete:
            # Before the first step the log is all there is to see.
            self._front_chosen = view.steps_logged > 0 or not view.active
            self.bring_to_front("log" if not view.steps_logged else "talk" if view.active else "samples")
        self.show()
        if found.goes_on and found.successor and found.successor not in self._followed and not self._is_writing():
            self._followed.add(found.successor)
            self.mlx.tell(f"{found.successor}: the next stage of the same model")
            self.show_run(found.successor)
        if before is not None and before.status != view.status:
            self.twin = commands.monitor(self.typed_name)  # what was done has been done
        state = (view.status, bool(view.samples), found.goes_on)
        if before is None or (before.status, bool(before.samples), went_on) != state:
            self.refresh_bindings()

    def _is_writing(self) -> bool:
        return isinstance(self.focused, Input) and bool(self.focused.value)

    def show(self) -> None:
        """The newest numbers, sentences and curves, in all parts."""
        if self.found is None:
            return
        view, room = self.found.view, self.size.width - 2
        about = Content("\n").join([head_line(view, self.mlx.marks, room), numbers_line(view, self._machine, room)])
        self.query_one("#about", Static).update(about, layout=False)  # of the same height, several times a second
        self._tell_line("#sources", sources_line(view, room, self.mlx.marks == "ascii"))
        found = self.found
        told = sentence(
            view,
            waited=found.waited,
            next_stage=found.successor,
            goes_on=found.goes_on,
            stage=found.stage,
            left=found.left,
            exam=found.exam,
        )
        self._tell_line("#sentence", Content(told))
        self._tell_line("#alerts", alert_lines(view))
        self._draw()
        self.query_one(TalkPanel).show(view)
        self.query_one(SamplesPanel).show(view)
        self.query_one(LogPanel).show(view)

    def _tell_line(self, where: str, told: Content) -> None:
        line = self.query_one(where, Static)
        if line.content != told:  # another height would move everything
            line.update(told)
        line.display = bool(told)

    def _draw(self) -> None:
        """New curves, where anything about them has changed."""
        assert self.found is not None
        view, others = self.found.view, self.found.others
        state = (
            self.metric,
            *(
                (v.address, v.generation, v.steps_logged, tuple(map(len, v.val.values())))
                for v in (view, *others.values())
            ),
            view.status,
            view.complete,
        )
        if state == self._drawn:
            return
        self._drawn = state
        baseline = self.mlx.remembered.get(BASELINE, "")
        chart, second = self.chart, self.query_one("#second", Chart)
        chart.title, chart.empty = self.metric.title, empty_sentence(view)
        chart.traces = traces_of(self.metric, view, others, baseline)
        rewards = next(metric for metric in METRICS if metric.key == "rewards")
        second.display = rewards in metrics_of(view) and self.metric != rewards and self.size.height >= _ROWS_FOR_TWO
        if second.display:
            second.traces = traces_of(rewards, view, others, baseline)

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What the run cannot do in its state is no key; letters are none inside of the line for prompts."""
        if action not in _OWN:
            return True
        view = self.view
        if isinstance(self.focused, Input) or view is None:
            return False
        if action in ("pause", "save", "stop", "sample"):
            return view.status in ANSWERING and (action != "pause" or view.status not in ("starting", "paused"))
        if action == "unpause":
            return view.status == "paused"
        if action == "resume" and view.report is not None and view.report.next_command is None:
            return False  # it never began: there is nothing to go on from
        if action == "resume":
            return not view.active and view.status != "missing" and not (self.found is not None and self.found.goes_on)
        return True

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """The command is that of what has the focus."""
        if isinstance(event.widget, Input) and self.run is not None:
            self.twin = commands.ask_trainer(self.typed_name, self.query_one(TalkPanel).text or FIRST_PROMPT)
        elif self.run is not None:
            self.twin = commands.monitor(self.typed_name)
        if self._pointing and not isinstance(event.widget, SamplesPanel):
            self.chart.cursor, self._pointing = None, False

    def action_panel(self, name: str) -> None:
        """Bring a part to the front, and to it the focus."""
        self._front_chosen = True
        self.bring_to_front(name)
        panel = self.query_one(f"#{name}", Panel)
        target = next((widget for widget in (panel, *panel.query("*")) if widget.focusable), None)
        if target is not None:
            self.set_focus(target)  # at once: the next key belongs to it

    def bring_to_front(self, name: str, *, newest: bool = False) -> None:
        if newest:
            self.query_one(SamplesPanel).look_at_newest()
            self.chart.cursor = None
        for panel in self.query(Panel):
            panel.set_class(panel.id == name, "-front")

    # Parts.

    def on_talk_panel_asked(self, message: TalkPanel.Asked) -> None:
        """A prompt for the trainer."""
        if not self.talk(message.prompt):
            self.query_one(TalkPanel).refused()

    def asked(self, waiting: Waiting) -> None:
        self.query_one(TalkPanel).asked(waiting)
        self.show()

    def on_samples_panel_chosen(self, message: SamplesPanel.Chosen) -> None:
        """The chart points at the step of the sample that is looked at."""
        view = self.view
        if view is not None:
            chart = self.chart
            chart.cursor = None if message.step is None else place_of(view, message.step, chart.axis)
            self._pointing = True


_OWN = frozenset(
    {
        "pause",
        "unpause",
        "save",
        "stop",
        "resume",
        "sample",
        "chat",
        "panel",
        "metric",
        "axis",
        "log",
        "passage",
        "overlay",
        "another",
    }
)
