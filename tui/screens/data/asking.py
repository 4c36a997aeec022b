"""What is asked before a dataset is built: its name and tokenizer, how it is cleaned, and how much is held out."""

import asyncio
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static
from textual.widgets.option_list import Option

from mlxllm import paths
from mlxllm.data.clean.evaluation_files import evaluation_files
from mlxllm.data.draft import draft_folder
from mlxllm.errors import ConfigError, UserError
from mlxllm.tokenizer import choose_tokenizer
from tui import commands
from tui.data.entries import KnownTokenizer
from tui.widgets.choices import Choices
from tui.widgets.command_form import CommandForm, form_keys
from tui.widgets.dialogs import Ask, Confirm
from tui.widgets.keys_bar import KeysBar
from tui.widgets.one_of import OneOf
from tui.widgets.path_entry import PathSuggester
from tui.words import printable

_NEW_TOKENIZERS = (
    KnownTokenizer("bpe:1024", "bpe:1024: word pieces, for little text and tiny models"),
    KnownTokenizer("bpe:4096", "bpe:4096: word pieces, the usual for small models"),
    KnownTokenizer("bpe:8192", "bpe:8192: word pieces, for 10 MB of text and more"),
    KnownTokenizer("char", "char: the characters that occur, for less than 300 kB"),
    KnownTokenizer("byte", "byte: 261 ids, nothing to learn, and the longest sequences"),
)
_AS_USUAL = "as its kind is"
_CLEANING = {
    _AS_USUAL: "",
    "web": "prose only, by Gopher, FineWeb and C4; nothing twice",
    "code": "code that somebody wrote; nothing twice or nearly so",
    "papers": "whole texts, no tables; nothing twice or nearly so",
    "none": "every document stays as it is, even where it comes twice",
}
"""Recipes with what they leave."""
_VAL_SPLIT = 0.01
"""The command's own held-out part, which need not be said."""


class AddDialog(Ask):
    """A path or a source to add; Enter adds it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "add", "Add", priority=True),  # else the line hides it from the footer
    ]

    async def action_add(self) -> None:
        """Take the line."""
        await self.query_one(Input).action_submit()


@dataclass(frozen=True)
class Order:
    """What is to be built."""

    name: str
    args: commands.Args


class BuildDialog(CommandForm[Order]):
    """Name, tokenizer, cleaning, evaluation files and validation share; Enter builds."""

    CSS = f"""{CommandForm.CSS}
    BuildDialog Horizontal {{ height: 1; }}
    BuildDialog.-short Horizontal {{ margin-top: 0; }}
    BuildDialog.-short #about {{ max-height: 2; }}
    BuildDialog.-short #command {{ margin-top: 0; }}
    BuildDialog .name {{ width: 12; }}
    BuildDialog Choices, BuildDialog Choices:focus {{ height: auto; max-height: 6; border: none; margin: 0 0 0 11; }}
    BuildDialog.-short Choices, BuildDialog.-short Choices:focus {{ max-height: 3; }}
    BuildDialog .more {{ margin-left: 13; }}
    """
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]  # noqa: RUF012  # Screen declares it without ClassVar
    BINDINGS = form_keys("Build")

    def __init__(
        self,
        sources: Sequence[tuple[str, str | None]],
        about: str,
        name: str,
        tokenizer: str,
        known: Sequence[KnownTokenizer],
        val_split: float,
        thresholds: Sequence[float] | None,
        usual: Sequence[tuple[str, str]] = (),
        recipe: str = "",
    ) -> None:
        """Ask how `sources` are to be built.

        Args:
            sources: specifications with weights.
            about: what they are, in a sentence.
            name: what the dataset could be called.
            tokenizer: what would be sensible.
            known: tokenizers that are there.
            val_split: the part to hold out that would be sensible.
            thresholds: of each document, the part above which it is held out; None where that is not known.
            usual: each kind among the sources, with the recipe by which it is cleaned unless another is chosen.
            recipe: what to clean all sources by; nothing for each by that of its kind.
        """
        super().__init__()
        self._sources, self._about, self._name, self._tokenizer = sources, about, name, tokenizer
        self._val_split, self._thresholds = val_split, thresholds
        self._usual = usual
        self._recipe = list(_CLEANING).index(recipe) if recipe in _CLEANING else 0
        own = [tokenizer for tokenizer in known if tokenizer.argument not in ("byte", "char")]
        self._tokenizers = [*_NEW_TOKENIZERS, *own]

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Build a dataset"
            box.border_subtitle = "enter builds, tab goes on, esc: not now"
            yield Static(Content(printable(self._about)), id="about")
            with Horizontal():
                yield Static("Name", classes="name")
                yield Input(self._name, id="name")
            with Horizontal():
                yield Static("Tokenizer", classes="name")
                yield Input(self._tokenizer, id="tokenizer")
            yield Choices(*(Option(Content(each.label)) for each in self._tokenizers), markup=False)
            with Horizontal():
                yield Static("Cleaning", classes="name")
                yield OneOf(list(_CLEANING), self._recipe, id="recipe")
            yield Static(id="about_recipe", classes="more", markup=False)
            with Horizontal():
                yield Static("Evaluation", classes="name")
                about = "files, if any: texts that overlap them are left out"
                yield Input(placeholder=about, id="overlap", suggester=PathSuggester())
            with Horizontal():
                yield Static("Held out", classes="name")
                yield Input(f"{self._val_split:.15g}", id="val")
            yield Static(id="about_val", classes="more", markup=False)
            yield Static(id="command", markup=False)
            yield Static(id="wrong", markup=False)
        yield KeysBar()

    def on_mount(self) -> None:
        """The tokenizer that is suggested is marked in the list."""
        names = [each.argument for each in self._tokenizers]
        if self._tokenizer in names:
            self.query_one(Choices).highlighted = names.index(self._tokenizer)
        self.query_one("#name", Input).focus()
        self._show()

    def on_option_list_option_highlighted(self, event: Choices.OptionHighlighted) -> None:
        """Another tokenizer."""
        chosen = self._tokenizers[event.option_index].argument
        if self.query_one(Choices).has_focus:
            self.query_one("#tokenizer", Input).value = chosen

    def on_option_list_option_selected(self, event: Choices.OptionSelected) -> None:
        """A click on a tokenizer."""
        self.query_one("#tokenizer", Input).value = self._tokenizers[event.option_index].argument

    def on_one_of_changed(self) -> None:
        """Other rules."""
        self.on_input_changed()

    def _args(self, force: bool = False) -> commands.Args:
        held_out = self._typed("val")
        split = None if held_out == f"{_VAL_SPLIT:g}" else held_out
        cleaned = list(_CLEANING)[self.query_one(OneOf).chosen]
        return commands.data_build(
            self._typed("name"),
            self._sources,
            self._typed("tokenizer"),
            split,
            recipe=None if cleaned == _AS_USUAL else cleaned,
            overlap=_paths(self._typed("overlap")),
            force=force,
        )

    def _show(self) -> None:
        super()._show()
        about = list(_CLEANING.values())[self.query_one(OneOf).chosen]
        usual = ", ".join(f"{kind}: {recipe}" for kind, recipe in self._usual)
        self.query_one("#about_recipe", Static).update(Content(printable(about or usual)))
        self.query_one("#about_val", Static).update(_about_val(self._typed("val"), self._thresholds))

    @work(exclusive=True)
    async def action_take(self) -> None:
        """Check what was typed; build if it is right, else say what is wrong."""
        name, tokenizer, held_out = (self._typed(field) for field in ("name", "tokenizer", "val"))
        try:
            exists, begun = await asyncio.to_thread(_check, name, tokenizer, held_out, self._typed("overlap"))
        except UserError as error:
            self._refuse(error)
            return
        if exists and not begun:
            question = f"There is a dataset {name!r} already. Replace it by the new one?"
            if not await self.app.push_screen_wait(Confirm(question, "Replace")):
                self.query_one("#name", Input).focus()
                return
        self.dismiss(Order(name, self._args(force=exists)))


def _about_val(held_out: str, thresholds: Sequence[float] | None) -> Content:
    """What the held-out part comes to."""
    share = _share(held_out)
    if thresholds is None or share is None:
        return Content("of the text, for validation: 0.01 is a hundredth")
    of = len(thresholds)
    held = sum(threshold < share for threshold in thresholds)
    told = f"for validation: {held:,} of {of:,} document{'' if of == 1 else 's'}, held out whole"
    if 0 < held < of:
        return Content(told)
    if len(set(thresholds)) < 2:
        return Content.assemble(
            ("! ", "bold $warning"), f"{told}; training needs two different ones or more: add texts"
        )
    what = "a larger part holds out some" if not held else "a smaller part leaves some to learn from"
    return Content.assemble(("! ", "bold $warning"), f"{told}; {what}, and training needs both")


def _share(text: str) -> float | None:
    """The part that is held out; None where it is none."""
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 <= share < 1 else None


def _paths(typed: str) -> list[str]:
    """The paths in a line: one that is there, blanks and all, or several with blanks between them."""
    if not typed or os.path.exists(os.path.expanduser(typed)):
        return [typed] if typed else []
    try:
        return shlex.split(typed)
    except ValueError:  # a quotation mark without its other
        return typed.split()


def _check(name: str, tokenizer: str, held_out: str, overlap: str) -> tuple[bool, bool]:
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
    if _share(held_out) is None:
        raise ConfigError(f"held out is {held_out!r}; it is a part of the text, from 0 to below 1, such as 0.01")
    for path in _paths(overlap):
        evaluation_files(path)
    return directory.exists(), draft_folder(directory).is_dir()
