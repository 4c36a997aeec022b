"""Runs side by side, in front of the table: where their settings differ, and what they said to the same prompts."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mlxllm.runs import SamePrompt, Sample
from tui.widgets.keys_bar import KeysBar
from tui.widgets.rows import Column, Rows
from tui.words import printable, visible

_BOX = """
    {0} {{ align: center middle; }}
    {0} > Vertical {{ width: 96%; height: 90%; background: $background; border: round $primary; padding: 0 1; }}
"""
_HASHES = ("fingerprint", "data.tokenizer")
_SHORT_HASH = 12


def spelled(key: str, value: Any) -> str:
    """A setting's value in a line."""
    if isinstance(value, str) and value and key.endswith(_HASHES):
        return value[:_SHORT_HASH]
    return printable(value) if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _short(key: str, value: Any) -> str:
    """A value for a narrow column: of paths the last part, by which they differ."""
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ", ".join(_short(key, each) for each in value)
    return spelled(key, value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else value)


class Differences(ModalScreen[None]):
    """The settings in which runs differ."""

    DEFAULT_CSS = (
        _BOX.format("Differences")
        + """
    Differences Rows { height: 1fr; }
    Differences #full { height: auto; max-height: 5; border-top: solid $border-blurred; }
    """
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,d", "leave", "Close", key_display="esc")]

    def __init__(self, names: Sequence[str], differing: Mapping[str, Mapping[int, Any]]) -> None:
        """Show them.

        Args:
            names: of the runs.
            differing: what `mlxllm.runs.differences` found.
        """
        super().__init__()
        self._names, self._differing = list(names), differing

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            count = len(self._differing)
            box.border_title = Content("1 setting differs" if count == 1 else f"{count} settings differ")
            columns = [Column("setting", 22), *(Column(printable(name), 14, grows=True) for name in self._names)]
            yield Rows(columns, self._cells)
            yield Static(id="full", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Fill it."""
        self.query_one(Rows).set_rows(list(self._differing))
        self.query_one(Rows).focus()

    def on_rows_moved(self) -> None:
        """The whole values of the setting under the cursor, which a column may cut off."""
        key = self.query_one(Rows).key
        if key is None:
            return
        values = self._differing[key]
        lines = [
            Content.assemble((f"{printable(name)}  ", "bold"), spelled(key, values[n]) if n in values else "not set")
            for n, name in enumerate(self._names)
        ]
        self.query_one("#full", Static).update(Content.assemble((key, "bold $accent"), "\n", Content("\n").join(lines)))

    def _cells(self, key: str) -> list[str]:
        values = self._differing[key]
        told = {n: _short(key, value) for n, value in values.items()}
        full = {n: spelled(key, value) for n, value in values.items()}
        if len(set(told.values())) < len(set(full.values())):  # equal names in different folders: where these part
            cut = os.path.commonprefix([*full.values()]).rfind("/") + 1  # noqa: RUF071  # then cut at a whole part
            told = {n: f"..{text[cut:]}" if cut > 1 else text for n, text in full.items()}
        return [key, *(told.get(n, "-") for n in range(len(self._names)))]

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss()


class SideBySide(ModalScreen[None]):
    """What runs said in training to one prompt after the other, early and late."""

    DEFAULT_CSS = (
        _BOX.format("SideBySide")
        + """
    SideBySide #prompt { height: auto; max-height: 4; margin-bottom: 1; }
    SideBySide Horizontal { height: 1fr; }
    SideBySide VerticalScroll { width: 1fr; height: 1fr; border: round $border-blurred; padding: 0 1; }
    SideBySide VerticalScroll:focus { border: round $border; }
    SideBySide VerticalScroll Static { height: auto; }
    .ascii SideBySide VerticalScroll, .ascii SideBySide VerticalScroll:focus { border: ascii $border; }
    """
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,comma", "earlier(1)", "Earlier", key_display="←"),
        Binding("right,full_stop", "earlier(-1)", "Later", key_display="→"),
        Binding("n", "prompt(1)", "Next prompt"),
        Binding("p", "prompt(-1)", "Previous prompt"),
        Binding("tab", "app.focus_next", "Next run", show=False),
        Binding("escape,q,s", "leave", "Close", key_display="esc"),
    ]

    def __init__(self, names: Sequence[str], said: Sequence[SamePrompt]) -> None:
        """Show them.

        Args:
            names: of the runs.
            said: what `mlxllm.runs.same_prompts` found, at least one prompt.
        """
        super().__init__()
        self._names, self._said = list(names), said
        self._prompt = 0
        self._back = 0
        """How many samples before the last."""

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content("The same prompt, side by side")
            yield Static(id="prompt", markup=False)
            with Horizontal():
                for name in self._names:
                    with VerticalScroll() as column:
                        column.border_title = Content(printable(name))
                        yield Static(markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """Show the last samples."""
        self._show()

    def action_earlier(self, by: int) -> None:
        """Go back or forth in training."""
        longest = max(map(len, self._said[self._prompt].answers), default=1)
        self._back = max(0, min(self._back + by, longest - 1))
        self._show()

    def action_prompt(self, by: int) -> None:
        """Another prompt."""
        self._prompt = (self._prompt + by) % len(self._said)
        self._back = 0
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There may be one prompt only."""
        return action != "prompt" or len(self._said) > 1

    def action_leave(self) -> None:
        """Close it."""
        self.dismiss()

    def _show(self) -> None:
        same = self._said[self._prompt]
        which = f"Prompt {self._prompt + 1} of {len(self._said)}  " if len(self._said) > 1 else "Prompt  "
        self.query_one("#prompt", Static).update(Content.assemble((which, "bold $accent"), visible(same.prompt)))
        for column, answers in zip(self.query(VerticalScroll), same.answers, strict=True):
            column.query_one(Static).update(self._answer(answers))
            column.scroll_home(animate=False)

    def _answer(self, answers: Sequence[Sample]) -> Content:
        if not answers:
            return Content.styled("was not asked this", "$text-muted")
        place = max(0, len(answers) - 1 - self._back)
        sample = answers[place]
        head = f"step {sample.step:,}  ({place + 1} of {len(answers)})"
        return Content.assemble((head, "bold $accent"), "\n\n", visible(sample.text) or "(nothing)")
