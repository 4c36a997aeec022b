"""New run: what to train, on what, how large and for how long, with what it will cost, and the command that does it."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Static

from mlxllm import paths
from mlxllm.errors import UserError
from tui.planning.draft import Method, check_name
from tui.planning.forecast import Forecast, forecast, suit
from tui.screens.new_run.choosing import ChoosesRows
from tui.screens.new_run.form import Detail, Form, problem
from tui.screens.new_run.panels import costs_text, differences_text
from tui.screens.new_run.rows import rows
from tui.words import printable


class NewRunScreen(ChoosesRows):
    """A form of few rows; the list beside it has what the row in focus can be set to."""

    MODE = "new"
    ABOUT = (
        "Prepare a run: choose what to train in the rows on the left, with the arrow keys; the list beside them shows what "
        "each row can be. Below stand the costs, live, and what you have changed. A run is a process of its own: it goes on "
        "when this application is closed."
    )
    HINT = "Up and down choose a row, left and right change it. Nothing is trained before you press enter."
    WORDS: ClassVar[Sequence[str]] = (
        *("run", "preset", "pretrain", "SFT", "DPO", "dataset", "parameters", "token", "step", "epoch", "memory"),
        *("checkpoint", "LoRA", "adapter", "learning rate", "preference pair", "dry run", "size dial"),
        "tokens per parameter",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "Start", tooltip="Start the run, and watch it", id="new.start"),
        Binding("D", "start_detached", "Start, stay", tooltip="Start the run, and stay here", id="new.start_detached"),
        Binding("x", "dry_run", "Dry run", tooltip="Check it all, show costs and settings", id="new.dry_run"),
        Binding("s", "set", "Set", tooltip="Change any setting", id="new.set"),
        Binding("u", "unset", "Unset", tooltip="Take the last setting back", id="new.unset"),
        Binding("e", "edit", "Type", tooltip="Type a name, a path or a model", id="new.edit"),
        Binding("m", "measure", "Measure", tooltip="Measure how fast this machine trains", id="new.measure"),
        Binding("left", "dial(-1)", "Less", show=False, id="new.less"),
        Binding("right", "dial(1)", "More", show=False, id="new.more"),
    ]
    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    CSS = """
    NewRunScreen #choices, NewRunScreen #choices:focus { border: none; }
    .ascii NewRunScreen #changed { border: ascii $border-blurred; }
    .ascii NewRunScreen #detail { border: ascii $border-blurred; }
    .ascii NewRunScreen #costs { border: ascii $border-blurred; }
    """
    DEFAULT_CSS = """
    NewRunScreen #body { layout: horizontal; }
    NewRunScreen #left { width: 1fr; max-width: 74; }
    NewRunScreen #right { width: 1fr; max-width: 100; }
    NewRunScreen #form { height: auto; padding: 0; }
    NewRunScreen #changed { height: 1fr; border: round $border-blurred; padding: 0 1; min-height: 3; }
    NewRunScreen #differences { height: auto; }
    NewRunScreen #note { height: auto; max-height: 5; padding: 0 1; }
    NewRunScreen #buttons { height: 1; padding: 0 1; }
    NewRunScreen #buttons Button { margin-right: 2; }
    NewRunScreen #detail { height: 1fr; }
    NewRunScreen #costs { height: auto; border: round $border-blurred; padding: 0 1; }
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        super().__init__()
        self.known: Forecast | None = None
        self._wrong = ""
        self._offered: tuple[bool | None, ...] = ()

    def compose_body(self) -> ComposeResult:
        with Vertical(id="left"):
            yield Form()
            with VerticalScroll(id="changed", can_focus=False) as changed:
                changed.border_title = "Changed"
                yield Static(id="differences", markup=False)
            yield Static(id="note", markup=False)
            with Horizontal(id="buttons"):
                for key, label, look in (
                    ("start", "Start and watch", "primary"),
                    ("detach", "Start, stay here", "default"),
                ):
                    button = Button(label, id=key, variant=look, compact=True)  # type: ignore[arg-type]  # a variant
                    button.can_focus = False  # keys have their own way; Tab goes to the list beside the form
                    yield button
        with Vertical(id="right"):
            yield Detail()
            costs = Static(id="costs", markup=False)
            costs.border_title = "What it costs"
            yield costs

    def on_mount(self) -> None:
        """Show the form, and look what there is."""
        self.show_draft()
        self.query_one(Form).focus()
        self.look_again()

    def on_screen_resume(self) -> None:
        """What was built or trained while another screen was open; the first time it comes before there is a form."""
        if self._rows:
            self.look_again()

    def on_resize(self) -> None:
        """Lines are as wide as there is room."""
        if self._rows:
            self.call_after_refresh(self._show_all)

    def home_focus(self) -> Widget | None:
        """The form."""
        return self.query_one(Form)

    # What is there.

    def stock_taken(self) -> None:
        """It may be what nobody had chosen yet."""
        self._fill_in()
        self.show_draft(keep_note=True)
        if self.may_measure():
            self.measure_soon()

    def may_measure(self) -> bool:
        """Where no speed is known, and nothing trains meanwhile."""
        return self.mlx.measures and self.stock.known and not self.stock.speed.measured and not self.stock.busy

    def records_read(self) -> None:
        """The costs depend on them."""
        self.show_draft(keep_note=True)

    def prefill(
        self,
        method: Method = "pretrain",
        *,
        model: str = "",
        data: Sequence[str] = (),
        preset: str = "",
        epochs: float | None = None,
    ) -> None:
        """Begin with these choices; another screen asks for it."""
        self._change_method(method)
        changes: dict[str, object] = {"name": ""}
        changes |= {"model": model} if model else {}
        changes |= {"few_epochs": epochs, "epochs": None} if epochs else {"few_epochs": None}
        changes |= {"preset": preset, "factor": 1.0} if preset else {}
        if data:
            changes |= {"dataset": data[0]} if method == "pretrain" else {"records": tuple(data)}
        self.draft = self.draft.with_(**changes)
        self._key = "method"
        self._fill_in()
        self.show_draft()
        self.query_one(Form).focus()

    # What is shown.

    def show_draft(self, *, keep_note: bool = False) -> None:
        """The draft anew: numbers, rows, the list beside them, the command."""
        if not keep_note:
            self._said = ""
        self.look_at_chosen()
        try:
            self.draft = suit(self.draft, self.stock, self.look)
            self.known, self._wrong = forecast(self.draft, self.stock, self.look), ""
        except UserError as error:
            self.known, self._wrong = None, str(error)
        self._rows = rows(self.draft, self.stock, self.known)
        dataset = self.stock.dataset(self.draft.dataset) if self.draft.method == "pretrain" else None
        self.twin = dataset.remedy if dataset is not None and dataset.remedy else self.draft.args()
        self._show_all()

    def _show_all(self) -> None:
        self.query_one(Form).show(self._rows, self._key, self.mlx.marks)
        self._show_detail()
        costs = self.query_one("#costs", Static)
        if self.known is not None:
            costs.update(
                costs_text(self.known, self.mlx.marks, costs.size.width, measuring=self._measuring is not None)
            )
        else:
            costs.update(
                problem(self._wrong) if self._wrong else "They depend on the model, whose shape is not known here."
            )
        try:
            differences = self.draft.differences()
        except UserError:  # the costs say what is wrong
            differences = []
        table = self.query_one("#differences", Static)
        table.update(differences_text(differences, self.draft.recipe, table.size.width, self.mlx.marks))
        self.show_note()
        self._offer()

    def _offer(self) -> None:
        """The footer is made anew only where other keys are offered."""
        offered = (self.check_action("edit", ()), self.check_action("unset", ()))
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def show_row(self) -> None:
        """The row that has the cursor, and the keys that make sense there."""
        self._show_detail()
        self._offer()

    def _show_detail(self) -> None:
        row = self._row
        self.query_one(Detail).show(row, self.draft.name if row.key == "name" else self._typed.get(row.key, ""))
        self._explain()

    def _explain(self) -> None:
        row, look = self._row, self.look
        text = Content(printable(row.about))
        if row.key == "name":
            wrong = self._name_problem()
            text = problem(wrong) if wrong else Content(f"the folder will be {paths.new('runs', self.draft.run)}")
        elif row.key == "records" and look is not None:
            text = (
                problem(look.problem)
                if look.problem
                else Content(f"{printable(look.sentence)}\n{printable(row.about)}")
            )
        elif row.key == "records" and self.draft.records:
            text = Content("is being read ...")
        self.query_one(Detail).explain(text)

    def _name_problem(self) -> str:
        try:
            check_name(self.draft.run)
        except UserError as error:
            return str(error)
        return ""

    def obstacle(self) -> str:
        """Why the run cannot be started as it is; "" where it can."""
        draft = self.draft
        if not self.stock.known:
            return ""
        if self._wrong:
            return self._wrong + ("; u takes your last setting back" if draft.settings else "")
        for row in self._rows:
            if row.empty and not getattr(draft, row.key):
                return row.empty
        if draft.method == "pretrain":
            dataset = self.stock.dataset(draft.dataset)
            if dataset is None:
                return f"there is no dataset {draft.dataset!r}; choose another one, or press 2 and build it"
            if dataset.problem:
                return dataset.problem
        if self.look is not None and self.look.problem:
            return self.look.problem
        return self._name_problem()

    def advice(self) -> str:
        """The forecast's."""
        return self.known.advice if self.known is not None else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What makes no sense just now is not offered."""
        if action == "edit":
            return bool(self._rows and self._row.entry)
        if action == "unset":
            return bool(self.draft.settings)
        return True

    def action_start(self) -> None:
        """Start the run and watch it. In the list of choices Enter only goes back to the form."""
        if self.query_one(Detail).choices.has_focus:
            self.query_one(Form).focus()
            return
        self.start(watch=True)

    def action_start_detached(self) -> None:
        """Start the run and stay here."""
        self.start(watch=False)
