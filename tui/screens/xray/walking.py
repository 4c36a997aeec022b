"""The part of the X-ray that has models loaded, asks the engine for walks, and shows them."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from mlxllm.errors import UserError
from tui.engine_replies import LoadedInfo
from tui.screens.base import ModeScreen
from tui.screens.chat.opening import NO_MODEL, failure, heading
from tui.screens.chat.talking import MODEL
from tui.screens.xray import panels
from tui.talking.models import check_model, first_model, sample_prompt_of
from tui.talking.xray import Changes, View, twin
from tui.widgets.heat_map import HeatMap
from tui.widgets.layer_table import LayerTable
from tui.widgets.lens_table import LensTable
from tui.words import printable

_PROMPT = "Once upon a time"
_NEIGHBOURS = 4
_MOST_NUMBERS = 1 << 16
"""So many numbers of attention maps come without being noticed."""


class WalkingScreen(ModeScreen):
    """A model and a prompt, and what the one does with the other; what the keys do to it is `XrayScreen`'s."""

    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    DEFAULT_CSS = """
    WalkingScreen #about { height: 1; padding: 0 1; background: $surface; text-style: bold; }
    WalkingScreen #status { height: auto; max-height: 3; padding: 0 1; color: $warning; }
    WalkingScreen #asked { height: 1; padding: 0 1; }
    WalkingScreen #asked Static { width: auto; color: $accent; text-style: bold; }
    WalkingScreen #pieces { height: 1; padding: 0 1; }
    WalkingScreen #piece { height: 1; padding: 0 1; }
    WalkingScreen #walk { height: 1fr; }
    WalkingScreen #map { width: 1fr; height: 1fr; border: round $border-blurred; }
    WalkingScreen #next { width: 42; height: 1fr; border: round $border-blurred; padding: 0 1; }
    WalkingScreen #next Static { height: auto; }
    WalkingScreen #head { height: auto; max-height: 2; padding: 0 1; color: $text-muted; }
    WalkingScreen.-narrow #next { width: 32; }
    WalkingScreen.-narrow #head { height: 1; }
    .ascii WalkingScreen #map, .ascii WalkingScreen #next { border: ascii $border-blurred; }
    """

    def __init__(self) -> None:
        """No model yet, and nothing changed."""
        super().__init__()
        self._model = ""
        self._loaded: LoadedInfo | None = None
        self._text = ""
        self._chat = False
        """The prompt is a question to a tuned model."""
        self._lens = False
        """The lens is shown in place of the map."""
        self._changes = Changes()
        self._at = -1
        self._view: View | None = None

    def compose_body(self) -> ComposeResult:
        yield Static(id="about", markup=False)
        with Horizontal(id="asked"):
            yield Static("reads ", id="how")
            yield Input(placeholder="a prompt; enter has the model read it", id="prompt", select_on_focus=False)
        yield Static(id="pieces", markup=False)
        yield Static(id="piece", markup=False)
        yield Static(id="status", markup=False)
        yield LayerTable()
        with Horizontal(id="walk"):
            with Vertical(id="map"):
                yield HeatMap()
                yield LensTable()
                yield Static(id="head", markup=False)
            with VerticalScroll(id="next") as column:
                column.border_title = "Next piece"
                yield Static(markup=False)

    def home_focus(self) -> Widget | None:
        return self.query_one(LayerTable)

    def on_mount(self) -> None:
        """The keys are the table's."""
        self.query_one("#next").can_focus = False
        self.query_one(LensTable).display = False
        prompt = self.query_one("#prompt", Input)
        prompt.styles.border, prompt.styles.height = ("none", "transparent"), 1  # inputs of the application have one
        self.query_one(LayerTable).focus()
        self._set_twin()

    def on_screen_resume(self) -> None:
        """There may be a model by now."""
        if not self._model:
            self._open_first()

    def on_resize(self) -> None:
        """Lines that are cut to the width."""
        self.call_after_refresh(self._show)

    @work(exclusive=True, group="model")
    async def _open_first(self) -> None:
        model = await asyncio.to_thread(first_model, self.mlx.remembered.get(MODEL, ""))
        if model and not self._model:
            self.open_model(model)
        elif not self._model:
            self._tell("#about", "no model yet")
            self._status(NO_MODEL)

    # Models and prompts.

    def open_model(self, model: str) -> None:
        """Look into a model."""
        self._load(model)

    @work(exclusive=True, group="model")
    async def _load(self, model: str) -> None:
        self.workers.cancel_group(self, "walk")
        self._model, self._loaded, self._view = model, None, None
        self.refresh_bindings()
        self._tell("#about", f"{printable(model)}   is being loaded ...")
        try:
            await asyncio.to_thread(check_model, model)
            loaded = await self.mlx.engine.load(model)
        except UserError as error:
            self._tell("#about", f"{printable(model)}   cannot be used")
            self._status(await asyncio.to_thread(failure, model, error))
            return
        if not self.query(LayerTable):  # the application is closing
            return
        self._loaded, self._changes, self._at = loaded, Changes(), -1
        table = self.query_one(LayerTable)
        table.at_layer = table.at_head = 0  # another model may have fewer
        self._chat = loaded.kind == "chat"
        self.mlx.remembered.set(MODEL, model)
        self._tell("#about", heading(loaded))
        if loaded.note:
            self.mlx.warn(loaded.note)
        prompt = self.query_one("#prompt", Input)
        if not prompt.value:
            begun = (await asyncio.to_thread(sample_prompt_of, loaded.address)).strip()
            prompt.value = (next(iter(loaded.suggestions), "") if self._chat else begun) or _PROMPT
        self._text = prompt.value
        self._walk()

    @on(Input.Submitted, "#prompt")
    def _read(self, event: Input.Submitted) -> None:
        """Another prompt; what is changed stays changed."""
        if not event.value.strip():
            self._status("write a few words for the model to read")
            return
        self._text, self._at = event.value, -1
        self.set_focus(self.home_focus())
        self._walk()

    @work(exclusive=True, group="walk")
    async def _walk(self) -> None:
        """Have the engine walk, and show it; a newer wish ends an older one."""
        if self._loaded is None:
            return
        changes = self._changes
        self._set_twin()
        self._tell("#how", "is asked " if self._chat else "reads ")
        about: dict[str, Any] = {"text": self._text}
        if self._chat:
            about = {"messages": [{"role": "user", "content": self._text}]}
        try:
            told = await self.mlx.engine.explain(
                self._model,
                **about,
                changes=changes.specs,
                shuffle=changes.shuffle,
                at=self._at,
                maps=self._maps_wanted(),
                neighbours=_NEIGHBOURS,
                top=8,
            )
        except UserError as error:
            self._status(f"! {error}")
            return
        if self.is_attached:
            self._take(told)

    def _maps_wanted(self) -> list[int] | None:
        """The layers whose maps are asked for: all (None) where they are small, so that the cursor need not wait."""
        view = self._view
        if view is not None and view.layers * view.heads * len(view.pieces) ** 2 <= _MOST_NUMBERS:
            return None
        return [self.query_one(LayerTable).at_layer]

    def _take(self, told: Mapping[str, Any]) -> None:
        self._view = View(told)
        self._status("")
        self._show()
        self.refresh_bindings()

    def _show(self) -> None:
        """All of the view, and the map of the head under the cursor."""
        view = self._view
        if view is None or not self.query(LayerTable):
            return
        table = self.query_one(LayerTable)
        table.show(view, self._changes.off)
        width, ascii_only = self.size.width - 2, self.app.has_class("ascii")
        self.query_one("#pieces", Static).update(panels.pieces(view, width, ascii_only=ascii_only))
        self.query_one("#piece", Static).update(panels.about_piece(view, view.neighbours(view.at)))
        weights = view.map_of(table.at_layer, table.at_head)
        box = self.query_one("#map")
        self.query_one(HeatMap).display = self.query_one("#head").display = not self._lens
        lens = self.query_one(LensTable)
        lens.display = self._lens
        lens.show(view, table.at_layer)
        title = f"{'Attention of layer' if width >= 78 else 'Layer'} {table.at_layer}, head {table.at_head}"
        box.border_title = Content("What each layer would say next" if self._lens else title)
        if weights is not None:
            self.query_one(HeatMap).show(weights, view.pieces, view.at)
        self.query_one("#head", Static).update(Content(view.head_line(table.at_layer, table.at_head)))
        column = self.query_one("#next", VerticalScroll)
        column.border_title = Content("Next piece" + (": before > after" if self._changes.any else ""))
        room = (32 if self.app.size.width < 100 else 42) - 6
        body = panels.next_piece(view, room, ascii_only=ascii_only)
        column.query_one(Static).update(body)
        self._status(f"changed: {printable(self._changes.told())}" if self._changes.any else "")
        self._set_twin()

    @on(LayerTable.Moved)
    def _moved(self, event: LayerTable.Moved) -> None:
        """Another head; the maps of another layer are asked for."""
        if self._view is not None and self._view.map_of(event.layer, event.head) is None:
            self._walk()
        else:
            self._show()

    def _tell(self, where: str, text: str) -> None:
        for line in self.query(where).results(Static):  # none where the application is closing
            line.update(Content(text))

    def _status(self, text: str) -> None:
        self._tell("#status", text)

    def _set_twin(self) -> None:
        table = self.query_one(LayerTable)
        name = self._loaded.address if self._loaded is not None else self._model or "RUN"
        text = self._text or _PROMPT
        self.twin = twin(
            name, text, self._changes, layer=table.at_layer, head=table.at_head, at=self._at, chat=self._chat
        )
