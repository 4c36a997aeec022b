"""Building a dataset from the data screen: what to ask before, and the line that shows how far it is."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static
from textual.widgets.option_list import Option

from mlxllm import paths
from mlxllm.data.draft import draft_folder
from mlxllm.errors import ConfigError, UserError
from mlxllm.tokenizer import choose_tokenizer
from tui import commands
from tui.data.entries import KnownTokenizer
from tui.jobs import Job, Line
from tui.widgets.choices import Choices
from tui.widgets.dialogs import Confirm
from tui.widgets.keys_bar import KeysBar
from tui.words import count, duration

if TYPE_CHECKING:  # the application imports its screens
    from tui.app import MlxllmApp

_NEW_TOKENIZERS = (
    KnownTokenizer("bpe:1024", "bpe:1024: word pieces, for little text and tiny models"),
    KnownTokenizer("bpe:4096", "bpe:4096: word pieces, the usual choice for small models"),
    KnownTokenizer("bpe:8192", "bpe:8192: word pieces, for 10 MB of text and more"),
    KnownTokenizer("char", "char: the characters that occur, for less than 300 kB"),
    KnownTokenizer("byte", "byte: 261 ids, nothing to learn, and the longest sequences"),
)
_VAL_SPLIT = 0.01
_BAR_CELLS = 20


@dataclass(frozen=True)
class Order:
    """What is to be built."""

    name: str
    args: commands.Args


class BuildDialog(ModalScreen[Order | None]):
    """Name, tokenizer and validation share; Enter builds."""

    # Not DEFAULT_CSS: the application's own rules for inputs and lists would go before it.
    CSS = """
    BuildDialog { align: center middle; }
    BuildDialog > Vertical { width: 86; max-width: 98%; height: auto; max-height: 98%; padding: 0 2; }
    BuildDialog > Vertical { background: $surface; border: round $primary; }
    BuildDialog Static { height: auto; }
    BuildDialog Horizontal { height: 1; margin-top: 1; }
    BuildDialog .name { width: 12; color: $accent; }
    BuildDialog Input, BuildDialog Input:focus { width: 1fr; border: none; height: 1; padding: 0 1; background: $panel; }
    BuildDialog Input:focus { text-style: underline; }
    BuildDialog Choices, BuildDialog Choices:focus { height: auto; max-height: 6; border: none; margin: 0 0 0 11; }
    BuildDialog #about_val, BuildDialog #command { color: $text-muted; }
    BuildDialog #about_val { margin-left: 12; }
    BuildDialog #command { margin-top: 1; }
    BuildDialog #wrong { color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "build", "Build"),
        Binding("tab", "app.focus_next", "Next field"),
        Binding("escape", "leave", "Not now"),
    ]

    def __init__(
        self,
        sources: Sequence[tuple[str, float]],
        about: str,
        name: str,
        tokenizer: str,
        known: Sequence[KnownTokenizer],
    ) -> None:
        """Ask how `sources` are to be built.

        Args:
            sources: specifications with weights.
            about: what they are, in a sentence.
            name: what the dataset could be called.
            tokenizer: what would be sensible.
            known: tokenizers that are there.
        """
        super().__init__()
        self._sources, self._about, self._name, self._tokenizer = sources, about, name, tokenizer
        own = [tokenizer for tokenizer in known if tokenizer.argument not in ("byte", "char")]
        self._tokenizers = [*_NEW_TOKENIZERS, *own]

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Build a dataset"
            box.border_subtitle = "enter builds, tab goes on, esc: not now"
            yield Static(Content(self._about), id="about")
            with Horizontal():
                yield Static("Name", classes="name")
                yield Input(self._name, id="name")
            with Horizontal():
                yield Static("Tokenizer", classes="name")
                yield Input(self._tokenizer, id="tokenizer")
            yield Choices(*(Option(Content(each.label)) for each in self._tokenizers), markup=False)
            with Horizontal():
                yield Static("Held out", classes="name")
                yield Input(f"{_VAL_SPLIT:g}", id="val")
            yield Static(
                Content("for validation: 0.01 is a hundredth; 0.1 where there is less than 1 MB of text"),
                id="about_val",
            )
            yield Static(id="command", markup=False)
            yield Static(id="wrong", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """The tokenizer that is suggested is marked in the list."""
        names = [each.argument for each in self._tokenizers]
        if self._tokenizer in names:
            self.query_one(Choices).highlighted = names.index(self._tokenizer)
        self.query_one("#name", Input).focus()
        self._show_command()

    def on_option_list_option_highlighted(self, event: Choices.OptionHighlighted) -> None:
        """Another tokenizer."""
        chosen = self._tokenizers[event.option_index].argument
        if self.query_one(Choices).has_focus:
            self.query_one("#tokenizer", Input).value = chosen

    def on_option_list_option_selected(self, event: Choices.OptionSelected) -> None:
        """A click on a tokenizer."""
        self.query_one("#tokenizer", Input).value = self._tokenizers[event.option_index].argument

    def on_input_changed(self) -> None:
        """Another command."""
        self.query_one("#wrong", Static).update("")
        self._show_command()

    def on_input_submitted(self) -> None:
        """Enter in a field."""
        self.action_build()

    def _field(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _args(self, force: bool = False) -> commands.Args:
        held_out = self._field("val")
        split = None if held_out == f"{_VAL_SPLIT:g}" else held_out
        return commands.data_build(self._field("name"), self._sources, self._field("tokenizer"), split, force=force)

    def _show_command(self) -> None:
        self.query_one("#command", Static).update(Content(f"$ {commands.as_text(self._args())}"))

    @work(exclusive=True)
    async def action_build(self) -> None:
        """Check what was typed; build if it is right, else say what is wrong."""
        name, tokenizer, held_out = (self._field(field) for field in ("name", "tokenizer", "val"))
        try:
            exists, begun = await asyncio.to_thread(_check, name, tokenizer, held_out)
        except UserError as error:
            self.query_one("#wrong", Static).update(Content(f"! {error}"))
            return
        if exists and not begun:
            question = f"There is a dataset {name!r} already. Replace it by the new one?"
            if not await self.app.push_screen_wait(Confirm(question, "Replace")):
                self.query_one("#name", Input).focus()
                return
        self.dismiss(Order(name, self._args(force=exists)))

    def action_leave(self) -> None:
        """Not now."""
        self.dismiss(None)


def _check(name: str, tokenizer: str, held_out: str) -> tuple[bool, bool]:
    """Whether there is a dataset of that name, and whether an interrupted build of it.

    Raises:
        UserError: something cannot work.
    """
    if not name:
        raise ConfigError("give the dataset a name, such as tales")
    directory = paths.new("datasets", name)
    if not tokenizer:
        raise ConfigError("choose a tokenizer; bpe:4096 is the usual one")
    choose_tokenizer(tokenizer)
    try:
        share = float(held_out)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ConfigError(f"held out is {held_out!r}; it is a part of the text, from 0 to below 1, such as 0.01")
    return directory.exists(), draft_folder(directory).is_dir()


class BuildBar(Static):
    """How far a build is, in a line or two; not there as long as nothing was built."""

    DEFAULT_CSS = """
    BuildBar { height: auto; max-height: 3; padding: 0 1; background: $panel; display: none; }
    BuildBar.-shown { display: block; }
    """

    def __init__(self) -> None:
        """Nothing is built."""
        super().__init__(markup=False)
        self._name = ""
        self._phase = ""
        self._since = (0.0, 0.0)
        self.written = 0
        """Documents, as far as the build has said."""

    def begin(self, name: str) -> None:
        """A build has been started."""
        self._name, self._phase, self.written = name, "", 0
        self.say("", f"Building {name}: it is starting; x stops it, what is done is kept")

    def progress(self, event: dict[str, object], ascii_only: bool) -> None:
        """Show an event of `mlxllm data build --json --progress`."""
        phase, fraction = str(event.get("phase")), event.get("fraction")
        documents, tokens, speed = (event.get(key) for key in ("documents", "tokens", "mb_per_sec"))
        number = documents if isinstance(documents, int) else 0
        self.written = number if phase == "writing" else 0
        now = time.monotonic()
        part = float(fraction) if isinstance(fraction, (int, float)) else None
        if phase != self._phase:
            self._phase, self._since = phase, (now, part or 0.0)
        doing = {"tokenizer": ", reading for the tokenizer", "passing": ", passing over what is done"}.get(phase, "")
        told = ["1 document" if number == 1 else f"{number:,} documents"]
        if isinstance(tokens, int) and tokens:
            told.append(f"{count(tokens)} tokens")
        if isinstance(speed, (int, float)):
            told.append(f"{speed:.1f} MB/s")
        if part is not None and part - self._since[1] > 0.001:
            left = (1 - part) * (now - self._since[0]) / (part - self._since[1])
            told.append(f"{duration(left)} left")
        bar: list[Content | tuple[str, str]] = []
        if part is not None:
            full = round(part * _BAR_CELLS)
            marks = ("#", ".") if ascii_only else ("━", "╌")
            bar = [
                (marks[0] * full, "$primary"),
                (marks[1] * (_BAR_CELLS - full), "$text-muted"),
                Content(f" {part:.0%}  "),
            ]
        head = f"Building {self._name}{doing}  "
        self._update(Content.assemble((head, "bold"), *bar, ", ".join(told), ("  x stops", "$accent")))

    def say(self, mark: str, text: str, colour: str = "") -> None:
        """Show a sentence behind a mark."""
        self._update(Content.assemble((f"{mark} " if mark else "", colour), text))

    def hide(self) -> None:
        """Put it away."""
        self.remove_class("-shown")

    def _update(self, content: Content) -> None:
        self.add_class("-shown")
        self.update(content)


class Builder:
    """The build that is running, if one is: its job, and the line that shows it."""

    def __init__(self, mlx: "MlxllmApp", bar: BuildBar, ended: Callable[[str], None]) -> None:
        """Nothing is built.

        Args:
            mlx: the application.
            bar: where to show it.
            ended: called with the name when a build has ended, one way or another.
        """
        self._mlx, self._bar, self._ended = mlx, bar, ended
        self._job: Job | None = None
        self._label: dict[str, Any] = {}
        self._order: Order | None = None
        self.name = ""
        """Of what is being built; nothing between builds."""
        self.built = ""
        """What was built last."""
        self.stopped: Order | None = None
        """The build that was stopped last, and can go on."""

    def start(self, order: Order) -> None:
        """Build; one at a time."""
        self.name, self._label, self._order, self.stopped = order.name, {}, order, None
        self._bar.begin(order.name)
        self._job = self._mlx.run_job((*order.args, "--json", "--progress"), self._line, self._end)

    def stop(self) -> None:
        """Stop it as Ctrl-C does: what is done is kept."""
        if self._job is not None:
            self._bar.say("", f"Stopping the build of {self.name} ...")
            self._job.cancel()

    def _kept(self, name: str) -> str:
        """What a stopped build has left."""
        if not draft_folder(paths.new("datasets", name)).is_dir():
            return "Nothing was written yet."
        written = self._bar.written
        what = f"{written:,} documents are" if written > 1 else "1 document is" if written else "What was done is"
        return f"{what} kept; b goes on from there, D deletes it."

    def _line(self, line: Line) -> None:
        if isinstance(line, dict) and line.get("kind") == "progress":
            if self._job is not None and not self._job.cancelled:
                self._bar.progress(line, self._mlx.marks == "ascii")
        elif isinstance(line, dict):
            self._label = line

    def _end(self, job: Job) -> None:
        name, self.name, self._job = self.name, "", None
        plain = self._mlx.marks == "ascii"
        if self._label:
            self.built = name
            train, val = self._label["train"]["tokens"], self._label["val"]["tokens"]
            text = f"Built {name}: {train:,} training and {val:,} validation tokens."
            if train and val:
                self._bar.say("v" if plain else "✓", f"{text} n trains a model on it.", "$success")
            else:
                # Documents are held out whole: of a handful, none may be, or all.
                advice = "b builds it again: hold out another part, or add more texts."
                self._bar.say("!", f"{text} Training needs both. {advice}", "$warning")
            for warning in self._label.get("warnings", []):
                self._mlx.warn(warning)
        elif job.cancelled:
            self.stopped = self._order if draft_folder(paths.new("datasets", name)).is_dir() else None
            self._bar.say("=" if plain else "‖", f"The build of {name} was stopped. {self._kept(name)}", "$warning")
        else:
            self._bar.say("x" if plain else "✗", f"{name} was not built: {job.error}", "$error")
        self._ended(name)
