"""Learn: the tour. Its chapters, and beneath them what their experiments print."""

from collections import deque
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, ScrollableContainer, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mlxllm.errors import UserError
from mlxllm.learn import progress
from mlxllm.learn.contents import CHAPTERS, chapter
from mlxllm.learn.progress import Mark, Progress
from mlxllm.learn.trying import Trial
from tui import commands
from tui.data.tour import Birth, Tour, birth, folded, how_far, mark_of, take_tour
from tui.jobs import Job, Line
from tui.screens.base import ModeScreen
from tui.screens.learn.page import page
from tui.widgets.choices import Choices
from tui.words import visible

_READ_SECONDS = 4.0
"""Who has a chapter open for so long has begun to read it."""
_KEPT_LINES = 600
_AROUND = 6
"""Columns of border, padding and scroll bar."""
_ROOM_FOR_TITLES = 100
"""Columns; narrower, the list has numbers and marks only."""
_DRAW_SECONDS = 0.05
_FOLLOW_SECONDS = 1.0


class LearnScreen(ModeScreen):
    """The tour."""

    MODE = "learn"
    ABOUT = (
        "How a model comes to be, in ten short chapters. Each has the formula, the place in the code where it is done, an "
        "experiment on your newest model, and a question. enter runs the experiment, which is a command like any other; "
        "a shows the answer. What was run and answered is done, and is remembered."
    )
    HINT = "Ten chapters, one experiment each: enter runs it on your newest model, n goes on to the next."
    WORDS = (
        "token",
        "BPE",
        "logprob",
        "loss",
        "parameters",
        "pretrain",
        "SFT",
        "LoRA",
        "DPO",
        "margin",
        "bits per byte",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "run", "Run the experiment", id="learn.run"),
        Binding("a", "answer", "Answer", id="learn.answer"),
        Binding("n", "turn(1)", "Next", id="learn.next"),
        Binding("p", "turn(-1)", "Previous", id="learn.previous"),
        Binding("d", "done", "Done", id="learn.done", tooltip="Note that this chapter is done"),
        Binding("s", "stop", "Stop", id="learn.stop", tooltip="Stop the experiment that runs"),
        Binding("space", "scroll(1)", "Read on", id="learn.down"),
        Binding("b", "scroll(-1)", "Read back", show=False, id="learn.up"),
    ]
    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    DEFAULT_CSS = """
    LearnScreen #chapters { width: 39; height: 1fr; }
    LearnScreen.-narrow #chapters { width: 10; }
    LearnScreen #page { height: 3fr; padding: 0 1; border: round $border-blurred; }
    LearnScreen #page Static { max-width: 104; height: auto; }
    LearnScreen #output { height: 2fr; min-height: 6; padding: 0 1; border: round $border-blurred; display: none; }
    LearnScreen #output.used { display: block; }
    LearnScreen #output Static { width: auto; height: auto; }
    LearnScreen #output.told Static { width: 100%; }
    LearnScreen #page:focus, LearnScreen #output:focus { border: round $border; }
    LearnScreen #output:focus { height: 9fr; }
    .ascii LearnScreen #page, .ascii LearnScreen #output { border: ascii $border-blurred; }
    .ascii LearnScreen #page:focus, .ascii LearnScreen #output:focus { border: ascii $border; }
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        super().__init__()
        self._tour: Tour | None = None
        self._progress = Progress()
        self._answered: set[int] = set()
        """Chapters whose answer is shown."""
        self._job: Job | None = None
        self._job_of = 0
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._drawing = False
        self._width = 0
        """Columns that what is printed has."""
        self._born = ""
        """The run that makes a first model, while it trains."""

    def compose_body(self) -> ComposeResult:
        with Horizontal():
            yield Choices(id="chapters", markup=False)
            with Vertical():
                with VerticalScroll(id="page"):
                    yield Static(markup=False)
                with ScrollableContainer(id="output") as output:
                    output.border_title = "Experiment"
                    yield Static(markup=False)

    def on_mount(self) -> None:
        """Open where the reader was."""
        listing = self.query_one(Choices)
        listing.add_options(Option(self._line(each.number)) for each in CHAPTERS)
        listing.focus()
        self.set_interval(_FOLLOW_SECONDS, self._follow)
        self._look(first=True)

    def on_resize(self) -> None:
        """The list has titles, or has not."""
        self._show()

    def on_screen_resume(self) -> None:
        """There may be another model now."""
        self._look()

    # What there is.

    @work(thread=True, exclusive=True, group="look")
    def _look(self, *, first: bool = False) -> None:
        tour = take_tour()
        self.app.call_from_thread(self._take, tour, first)

    def _take(self, tour: Tour, first: bool) -> None:
        self._tour, self._progress = tour, tour.progress
        if first:
            if tour.progress.problem:
                self.mlx.warn(tour.progress.problem)
            self.query_one(Choices).highlighted = tour.first - 1
        self._show()

    @property
    def _number(self) -> int:
        """The chapter that is open."""
        return (self.query_one(Choices).highlighted or 0) + 1

    def _trial(self) -> Trial | None:
        return self._tour.trial(self._number) if self._tour is not None else None

    # Showing.

    def _line(self, number: int) -> Content:
        sign = mark_of(self._progress, number, self.mlx.marks == "ascii")
        title = "" if self.size.width < _ROOM_FOR_TITLES else f" {chapter(number).title}"
        return Content.assemble((f"{sign} ", "$success"), f"{number:>2}{title}")

    def _show(self) -> None:
        """The chapter under the cursor, and the marks of all."""
        listing, number = self.query_one(Choices), self._number
        for each in CHAPTERS:
            listing.replace_option_prompt_at_index(each.number - 1, self._line(each.number))
        narrow = self.size.width < _ROOM_FOR_TITLES
        listing.border_title, listing.border_subtitle = ("", "") if narrow else ("Chapters", how_far(self._progress))
        trial = self._trial()
        in_ascii = self.mlx.marks == "ascii"
        shown = page(chapter(number), trial, answered=number in self._answered, ascii_only=in_ascii)
        self.query_one("#page Static", Static).update(shown)
        self.twin = trial.args if trial is not None and trial.args else commands.learn(number)
        self.refresh_bindings()

    @on(OptionList.OptionHighlighted)
    def _opened(self) -> None:
        """Another chapter, from its beginning."""
        number = self._number
        self.query_one("#page").scroll_home(animate=False)
        self._show()
        self.set_timer(_READ_SECONDS, lambda: self._mark(number, "read") if self._is_open(number) else None)

    def _is_open(self, number: int) -> bool:
        return self.is_current and self._number == number

    def _mark(self, number: int, *what: Mark) -> None:
        """Remember how far the reader is; a full disk is told once, and the tour goes on."""
        try:
            self._progress = progress.mark(number, *what)
        except UserError as error:
            self.mlx.warn(f"{error}; how far you are is not remembered")
            marks = {**self._progress.marks, number: self._progress.of(number) | set(what)}
            self._progress = Progress(marks, number)
        self._show()

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to run, or to stop."""
        if action == "run":
            trial = self._trial()
            return None if trial is None or not trial.args or self._job is not None or self._born else True
        return self._job is not None if action == "stop" else True

    def action_turn(self, by: int) -> None:
        """To another chapter."""
        self.query_one(Choices).highlighted = min(max(self._number + by, 1), len(CHAPTERS)) - 1

    def action_scroll(self, by: int) -> None:
        """Read on, or back."""
        found = self.query_one("#page", VerticalScroll)
        (found.scroll_page_down if by > 0 else found.scroll_page_up)(animate=False)

    def action_answer(self) -> None:
        """Show the answer, or put it away."""
        number = self._number
        if number in self._answered:
            self._answered.discard(number)
            self._show()
            return
        self._answered.add(number)
        self._mark(number, "answered")
        self.query_one("#page", VerticalScroll).scroll_end(animate=False)

    def action_done(self) -> None:
        """Note that the chapter is done."""
        self._mark(self._number, "done")

    def action_stop(self) -> None:
        """Stop the experiment."""
        if self._job is not None:
            self._job.cancel()

    def action_run(self) -> None:
        """Run the experiment; what it prints stands beneath the chapter."""
        trial = self._trial()
        if trial is None or not trial.args or self._job is not None or self._born:
            return
        number = self._number
        output = self.query_one("#output", ScrollableContainer)
        output.add_class("used")
        output.set_class(trial.makes_a_model, "told")  # sentences are folded, tables are not
        output.scroll_home(animate=False)
        output.border_title = f"Experiment of chapter {number}"
        output.border_subtitle = "it runs; s stops it"
        self._lines.clear()
        self._draw()
        if trial.makes_a_model:
            self._give_birth(trial)
            return
        self._job_of = number
        self._width = self.size.width - self.query_one("#chapters").outer_size.width - _AROUND
        self._job = self.mlx.run_job(trial.args, self._printed, self._ended, on_said=self._say, columns=self._width)
        self.refresh_bindings()

    # An experiment that runs.

    def _printed(self, line: Line) -> None:
        self._say(str(line))

    def _say(self, line: str) -> None:
        self._lines.extend(folded(visible(line), self._width).split("\n"))
        if not self._drawing:  # many lines come at once
            self._drawing = True
            self.set_timer(_DRAW_SECONDS, self._draw)

    def _draw(self) -> None:
        self._drawing = False
        self.query_one("#output Static", Static).update(Content("\n".join(self._lines)))

    def _ended(self, job: Job) -> None:
        self._job = None
        self._draw()
        output = self.query_one("#output")
        if job.returncode == 0:
            output.border_subtitle = "done; tab enlarges and scrolls it"
            self._mark(self._job_of, "tried")
        else:
            output.border_subtitle = "stopped" if job.cancelled else "it failed"
        self._look()

    # A first model.

    @work
    async def _give_birth(self, trial: Trial) -> None:
        """Train one as a process of its own, which goes on when the application is closed."""
        run = trial.args[-1]
        if await self.mlx.launch(run, trial.args):
            self._born = run
            self._follow()
        self.refresh_bindings()

    def _follow(self) -> None:
        if self._born:
            self._ask_after(self._born)

    @work(thread=True, exclusive=True, group="birth")
    def _ask_after(self, run: str) -> None:
        self.app.call_from_thread(self._heard, run, birth(run))

    def _heard(self, run: str, found: Birth) -> None:
        if run != self._born:
            return
        self._lines.clear()
        self._lines.extend(visible(line) for line in found.lines)
        self._draw()
        output = self.query_one("#output", ScrollableContainer)
        output.scroll_end(animate=False)
        output.border_subtitle = f"{run} trains; 4 shows its curves" if found.active else "ended"
        if not found.active:
            self._born = ""
            if found.finished:
                self.mlx.tell(f"{run} is there: from now on the experiments are run on it")
                self._mark(1, "tried")
            self._look()
