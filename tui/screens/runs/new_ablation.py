"""The question what is to be compared: a shipped list of changes or one's own, of which preset, on what, for how long."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from mlxllm.ablation import SHIPPED, WORDS
from mlxllm.errors import ConfigError
from tui import commands
from tui.widgets.command_form import CommandForm, form_keys
from tui.widgets.keys_bar import KeysBar
from tui.widgets.one_of import OneOf
from tui.words import visible

_OWN = "own"


class NewAblation(CommandForm[commands.Args]):
    """The list, further changes, preset, dataset, minutes and seeds; Enter checks and trains."""

    CSS = f"""{CommandForm.CSS}
    NewAblation > Vertical {{ width: 96; }}
    NewAblation Horizontal {{ height: auto; }}
    NewAblation .name {{ width: 10; }}
    NewAblation .more {{ margin-left: 11; }}
    """
    BINDINGS = form_keys("Train")

    def __init__(self, known: Sequence[str]) -> None:
        """Ask; `known` are the names of all datasets."""
        super().__init__()
        self._known = known
        self._lists = [*SHIPPED, _OWN]

    def compose(self) -> ComposeResult:
        words = "; ".join(f"{word}={'|'.join(values)}" for word, values in WORDS.items())
        with Vertical() as box:
            box.border_title = Content("New ablation")
            box.border_subtitle = "enter trains, tab goes on, esc: not now"
            with Horizontal():
                yield Static("Changes", classes="name")
                yield OneOf(self._lists, id="list")
            yield Static(id="about", classes="more", markup=False)
            with Horizontal():
                yield Static("and own", classes="name")
                yield Input(id="changes", placeholder="norm=post; positions=none; both: norm=post,positions=none")
            yield Static(Content(f"{words}; and any setting in full"), classes="more")
            with Horizontal():
                yield Static("Preset", classes="name")
                yield Input(id="preset", placeholder="that of the list")
            with Horizontal():
                yield Static("Data", classes="name")
                yield Input(
                    id="data", placeholder=f"quickstart's stories; there are {', '.join(self._known) or 'none'}"
                )
            with Horizontal():
                yield Static("Minutes", classes="name")
                yield Input(id="minutes", placeholder="of each run; empty: the preset's steps", type="number")
            with Horizontal():
                yield Static("Seeds", classes="name")
                yield Input(id="seeds", placeholder="3: how often each variant is trained", type="integer")
            yield Static(id="command", markup=False)
            yield Static(id="wrong", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Begin with the first list."""
        self.query_one("#list", OneOf).focus()
        self._show()

    def on_one_of_changed(self) -> None:
        """Another list."""
        self.on_input_changed()

    def _shipped(self) -> str | None:
        chosen = self._lists[self.query_one("#list", OneOf).chosen]
        return chosen if chosen != _OWN else None

    def _args(self) -> commands.Args:
        return commands.ablate(
            self._shipped(),
            preset=self._typed("preset") or None,
            change=[each.strip() for each in self._typed("changes").split(";") if each.strip()],
            data=self._typed("data") or None,
            minutes=self._typed("minutes") or None,
            seeds=self._typed("seeds") or None,
        )

    def _show(self) -> None:
        shipped = self._shipped()
        told = (
            "what is written below" if shipped is None else f"{SHIPPED[shipped].about} (of {SHIPPED[shipped].preset})"
        )
        self.query_one("#about", Static).update(Content(visible(told)))
        super()._show()

    def action_take(self) -> None:
        """Take it, or say why not; the command itself checks the rest before it trains anything."""
        if self._shipped() is None and not self._typed("changes"):
            self._refuse(ConfigError("write what is to be changed, such as norm=post; several variants with ; between"))
        elif self._shipped() is None and not self._typed("preset"):
            self._refuse(ConfigError("name the preset that is to be changed, such as shakespeare-char-cpu"))
        else:
            self.dismiss(self._args())
