"""The question what a run is evaluated on: held-out text, questions with known answers, or both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from mlxllm import paths
from mlxllm.errors import ConfigError, UserError
from mlxllm.scores import STDERR
from tui import commands
from tui.widgets.command_form import CommandForm, form_keys
from tui.widgets.keys_bar import KeysBar
from tui.widgets.path_entry import PathSuggester
from tui.words import number, visible

_MOST_NAMED = 8


@dataclass(frozen=True)
class Evaluating:
    """What a run is evaluated on."""

    args: commands.Args
    data: str
    """The dataset, "" for none."""

    @property
    def about(self) -> str:
        """In words."""
        return " and ".join(filter(None, (self.data, "questions" if "--tasks" in self.args else "")))


class EvaluateDialog(CommandForm[Evaluating]):
    """Dataset, tasks, and how many of their items; Enter evaluates."""

    CSS = f"""{CommandForm.CSS}
    EvaluateDialog Horizontal {{ height: auto; }}
    EvaluateDialog .name {{ width: 11; }}
    EvaluateDialog .more {{ margin-left: 12; }}
    """
    BINDINGS = form_keys("Evaluate")

    def __init__(self, run: str, model: str, known: Sequence[str], data: str) -> None:
        """Ask what a run is evaluated on.

        Args:
            run: its name.
            model: its address for commands.
            known: the names of all datasets.
            data: that of the run, "" where it is not known.
        """
        super().__init__()
        self._run, self._model, self._known, self._data = run, model, known, data

    def compose(self) -> ComposeResult:
        there = ", ".join(self._known[:_MOST_NAMED]) + (" and more" if len(self._known) > _MOST_NAMED else "")
        about = (
            f"A dataset, whose held-out text is scored: {there}." if there else "No dataset is here yet; 2 makes one."
        )
        with Vertical() as box:
            box.border_title = Content(f"Evaluate {visible(self._run)}")
            box.border_subtitle = "enter evaluates, tab goes on, esc: not now"
            with Horizontal():
                yield Static("Text", classes="name")
                yield Input(self._data, id="data")
            yield Static(Content(about), classes="more")
            with Horizontal():
                yield Static("Questions", classes="name")
                yield Input(id="tasks", suggester=PathSuggester(), placeholder="none")
            yield Static(
                Content("Files with known answers (piqa.jsonl, MMLU's folder), and names of lm-eval; commas between."),
                classes="more",
            )
            with Horizontal():
                yield Static("Only first", classes="name")
                yield Input(id="limit", placeholder="all", type="integer")
            yield Static(id="command", markup=False)
            yield Static(id="wrong", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Begin where something is to be said."""
        self.query_one("#data" if self._known else "#tasks", Input).focus()
        self._show()

    def _args(self) -> commands.Args:
        return commands.evaluate(self._model, self._typed("data"), self._typed("tasks"), self._typed("limit"))

    def action_take(self) -> None:
        """Take it, or say why not."""
        try:
            check(self._typed("data"), self._typed("tasks"), self._typed("limit"))
        except UserError as error:
            self._refuse(error)
            return
        self.dismiss(Evaluating(self._args(), self._typed("data")))


def check(data: str, tasks: str, limit: str) -> None:
    """Refuse what the command would refuse, as far as it can be seen at once.

    Raises:
        ConfigError: nothing is named, a dataset or file is not there, or the limit is no number above 0.
    """
    if not data and not tasks:
        raise ConfigError("name a dataset, or questions, or both")
    if data:
        paths.existing("datasets", data)
    for name in tasks.split(",") if tasks else ():
        if not name.strip():
            raise ConfigError("a name between two commas is empty")
        if paths.is_path(name.strip()) and not Path(name.strip()).expanduser().exists():
            raise ConfigError(f"there is no {name.strip()}")
    if limit and (not limit.isdecimal() or int(limit) < 1):
        raise ConfigError(f"{limit!r} is no number of items; leave it empty for all")


def scores_of(results: Mapping[str, Any], data: str) -> dict[str, dict[str, Any]]:
    """The scores to tell: of a dataset that of all its text, of questions each task's.

    Args:
        results: as `eval --json` names them.
        data: the dataset, "" for none.
    """
    text = {name: score for name, score in results.items() if "windows" in score}
    whole = text.get("all") or next(iter(text.values()), None)
    found = {data: dict(whole)} if whole is not None else {}
    return found | {name: dict(score) for name, score in results.items() if name not in text}


def in_words(score: Mapping[str, Any]) -> str:
    """A score in a line: a text's loss, or a task's metrics with their standard errors."""
    if "windows" in score:
        bits = score.get("bits_per_byte")
        told = f"loss {number(score.get('loss'))}, perplexity {number(score.get('perplexity'))}"
        return told + (f", bits per byte {number(bits)}" if bits is not None else "")
    parts = []
    for name, value in score.items():
        if name in ("samples", "step") or name.endswith(STDERR) or not isinstance(value, (int, float)):
            continue
        error = score.get(name + STDERR)
        parts.append(f"{name} {number(value)}" + (f" ± {number(error, 2)}" if error is not None else ""))
    return ", ".join(parts) + (f" ({score['samples']:,} items)" if score.get("samples") else "")
