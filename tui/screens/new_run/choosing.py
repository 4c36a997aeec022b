"""What the keys, the mouse and the line beside it do to the form of a new run."""

import shlex

from textual import work

from tui.planning.draft import Draft, Method, check_setting
from tui.screens.new_run.form import Detail, Form
from tui.screens.new_run.looking import LooksAround
from tui.screens.new_run.rows import Row, rows


class ChoosesRows(LooksAround):
    """The part of the New run screen that changes the draft."""

    def __init__(self) -> None:
        """Nothing is chosen yet."""
        super().__init__()
        self._others: dict[Method, Draft] = {}
        self._rows: list[Row] = []
        self._key = "method"
        self._typed: dict[str, str] = {}

    def show_row(self) -> None:
        """Show the row that has the cursor."""
        raise NotImplementedError

    @property
    def _row(self) -> Row:
        return next((row for row in self._rows if row.key == self._key), self._rows[0])

    def on_form_reached(self, message: Form.Reached) -> None:
        """Another row has the cursor."""
        self._key = message.key
        self.show_row()

    def on_detail_chosen(self, message: Detail.Chosen) -> None:
        """The cursor of the list, or a click."""
        self._take(message.position)

    def action_dial(self, by: int) -> None:
        """The next thing that the row can be, or the one before."""
        row = self._row
        if row.choices:
            self._take(0 if row.at is None else min(max(row.at + by, 0), len(row.choices) - 1))

    def _take(self, position: int) -> None:
        row = self._row
        if position >= len(row.choices) or position == row.at:
            return
        changes = row.choices[position].change
        if "method" in changes:
            self._change_method(changes["method"])
            self._fill_in()
        else:
            self.draft = self.draft.with_(**changes)
        self.show_draft()

    def _change_method(self, method: Method) -> None:
        """Each method keeps its own choices."""
        if method != self.draft.method:
            self._others[self.draft.method] = self.draft
            self.draft = self._others.get(method, Draft(method=method))

    def _fill_in(self) -> None:
        """Choose what nobody has chosen: the newest."""
        draft = self.draft
        if not draft.dataset and self.stock.datasets:
            usable = [dataset for dataset in self.stock.datasets if not dataset.problem]
            draft = draft.with_(dataset=(usable or self.stock.datasets)[0].name)
        if draft.method != "pretrain":
            for row in rows(draft, self.stock, None):
                wanting = (row.key == "model" and not draft.model) or (row.key == "records" and not draft.records)
                if wanting and row.choices:
                    draft = draft.with_(**row.choices[0].change)
        self.draft = draft

    @work
    async def action_set(self) -> None:
        """Change any setting."""
        model = self.stock.model(self.draft.model)
        base = model.config if model else None
        text = await self.mlx.ask(
            "A setting as section.key=value, for example train.seed=7 or train.batch_size=8. x, the dry run, shows all.",
            placeholder="section.key=value",
            check=lambda typed: check_setting(self.draft, typed, base),
        )
        if text is not None:
            self.draft = check_setting(self.draft, text, base)
            self.show_draft()

    def action_unset(self) -> None:
        """Take the last setting back."""
        gone = self.draft.settings[-1]
        self.draft = self.draft.with_(settings=self.draft.settings[:-1])
        self.show_draft()
        self.mlx.tell(f"{gone} is taken back")

    # Typing.

    def action_edit(self) -> None:
        """Type a name, a path or a model."""
        self.query_one(Detail).entry.focus()

    def on_detail_typed(self, message: Detail.Typed) -> None:
        """A name is checked at once, a path when the keys rest; Enter takes either."""
        text = message.text.strip()
        if self._key == "name":
            self.draft = self.draft.with_(name=text)
        elif not message.entered:
            self._typed[self._key] = message.text
            if self._key == "records":
                self.look_soon_at(_names(text))
            return
        elif self._key == "model" and text:
            self.draft = self.draft.with_(model=text)
        elif self._key == "records" and text:
            self.draft = self.draft.with_(records=_names(text))
        if message.entered:
            self._typed.pop(self._key, None)
            self.query_one(Form).focus()
        self.show_draft()


def _names(text: str) -> tuple[str, ...]:
    """The paths of a line; one that is not quoted right is taken as it is."""
    try:
        found = shlex.split(text)
    except ValueError:
        found = [text.strip()]
    return tuple(found)
