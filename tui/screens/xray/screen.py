"""X-ray: one prompt on its way through a model, head by head and layer by layer, and parts of it switched off."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from mlxllm.errors import UserError
from tui.engine_replies import LoadedInfo
from tui.screens.base import ModeScreen
from tui.screens.chat.opening import NO_MODEL, failure, heading
from tui.screens.chat.picker import ModelPicker
from tui.screens.chat.talking import MODEL
from tui.screens.xray import panels
from tui.talking.models import check_model, first_model, sample_prompt_of
from tui.talking.xray import Changes, View, check_patch, twin
from tui.widgets.heat_map import HeatMap
from tui.widgets.layer_table import LayerTable
from tui.words import printable

_PROMPT = "Once upon a time"
_NEIGHBOURS = 4
_NEEDS_A_VIEW = frozenset(
    "head attention mlp layer positions mask shuffle warmer patch undo position".split()  # actions
)


class XrayScreen(ModeScreen):
    """A prompt, a model, and what the one does with the other."""

    MODE = "xray"
    ABOUT = (
        "A prompt walks through a model. Each row of the table is a layer: its heads, how large what it adds is, and what "
        "the model would say if it stopped there. The map below shows what the head under the cursor looks at: each row is "
        "a piece, each cell one that it sees, and a row adds up to one. Switch a part off, and the next piece is told "
        "before and after. The attention is computed by the plain formula."
    )
    HINT = "Arrows move through layers and heads; space switches a head off, f a feed-forward, p the positions; x undoes all."
    WORDS = (
        *("attention", "head", "layer", "feed-forward", "residual stream", "logit lens", "embedding", "positions"),
        *("causal mask", "entropy", "KL divergence", "patch", "temperature", "token", "model", "nats"),
    )
    PARTS = (LayerTable,)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "head", "Head on/off", id="xray.head", tooltip="Switch the head under the cursor off or on"),
        Binding("f", "mlp", "Feed-forward", id="xray.mlp", tooltip="Switch the layer's feed-forward off or on"),
        Binding("a", "attention", "Attention", id="xray.attention", tooltip="Switch all heads of the layer off or on"),
        Binding("l", "layer", "Layer", id="xray.layer", tooltip="Switch the whole layer off or on"),
        Binding(
            "p", "positions", "Positions", id="xray.positions", tooltip="Take the positions away, or give them back"
        ),
        Binding("o", "mask", "Mask", id="xray.mask", tooltip="Lift the causal mask, or put it back"),
        Binding("s", "shuffle", "Shuffle", id="xray.shuffle", tooltip="Shuffle the pieces before the one looked at"),
        Binding("h", "patch", "Patch", id="xray.patch", tooltip="Put in what another prompt has behind this layer"),
        Binding("plus,equals_sign", "warmer(1)", "Warmer", key_display="+", id="xray.warmer"),
        Binding("minus", "warmer(-1)", "Colder", key_display="-", id="xray.colder"),
        Binding("x", "undo", "Undo all", id="xray.undo", tooltip="Take all changes back"),
        Binding("e", "write", "Prompt", id="xray.write", tooltip="Write another prompt"),
        Binding("m", "model", "Model", id="xray.model"),
        Binding("comma,less_than_sign", "position(-1)", "Piece before", key_display=",", show=False, id="xray.before"),
        Binding(
            "full_stop,greater_than_sign", "position(1)", "Piece after", key_display=".", show=False, id="xray.after"
        ),
        Binding("c", "chat", "As a question", show=False, id="xray.chat", tooltip="Ask a tuned model, in its template"),
    ]
    SCOPED_CSS: ClassVar[bool] = False  # the class `ascii` is the application's
    DEFAULT_CSS = """
    XrayScreen #about { height: 1; padding: 0 1; background: $surface; text-style: bold; }
    XrayScreen #status { height: auto; max-height: 2; padding: 0 1; color: $warning; }
    XrayScreen #asked { height: 1; padding: 0 1; }
    XrayScreen #asked Static { width: auto; color: $accent; text-style: bold; }
    XrayScreen #pieces { height: 1; padding: 0 1; }
    XrayScreen #piece { height: 1; padding: 0 1; }
    XrayScreen #walk { height: 1fr; }
    XrayScreen #map { width: 1fr; height: 1fr; border: round $border-blurred; }
    XrayScreen #next { width: 42; height: 1fr; border: round $border-blurred; padding: 0 1; }
    XrayScreen #next Static { height: auto; }
    XrayScreen #head { height: auto; max-height: 2; padding: 0 1; color: $text-muted; }
    XrayScreen.-narrow #next { width: 32; }
    .ascii XrayScreen #map, .ascii XrayScreen #next { border: ascii $border-blurred; }
    """

    def __init__(self) -> None:
        """No model yet, and nothing changed."""
        super().__init__()
        self._model = ""
        self._loaded: LoadedInfo | None = None
        self._text = ""
        self._chat = False
        """The prompt is a question to a tuned model."""
        self._changes = Changes()
        self._at = -1
        self._view: View | None = None
        self._near: dict[int, str] = {}
        """Token id -> its neighbours, as far as they were told; those of one model."""

    def compose_body(self) -> ComposeResult:
        yield Static(id="about", markup=False)
        with Horizontal(id="asked"):
            yield Static("reads ")
            yield Input(placeholder="a prompt; enter has the model read it", id="prompt", select_on_focus=False)
        yield Static(id="pieces", markup=False)
        yield Static(id="piece", markup=False)
        yield Static(id="status", markup=False)
        yield LayerTable()
        with Horizontal(id="walk"):
            with Vertical(id="map"):
                yield HeatMap()
                yield Static(id="head", markup=False)
            with VerticalScroll(id="next") as column:
                column.border_title = "Next piece"
                yield Static(markup=False)

    def home_focus(self) -> Widget | None:
        return self.query_one(LayerTable)

    def on_mount(self) -> None:
        """The keys are the table's."""
        self.query_one("#next").can_focus = False
        prompt = self.query_one("#prompt", Input)
        prompt.styles.border, prompt.styles.height = ("none", "transparent"), 1  # inputs of the application have one
        self.query_one(LayerTable).focus()
        self._set_twin()

    def on_screen_resume(self) -> None:
        """There may be a model by now."""
        if not self._model:
            self._open_first()

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
        self._model, self._loaded = model, None
        self._tell("#about", f"{printable(model)}   is being loaded ...")
        try:
            await asyncio.to_thread(check_model, model)
            loaded = await self.mlx.engine.load(model)
        except UserError as error:
            self._tell("#about", f"{printable(model)}   cannot be used")
            self._status(await asyncio.to_thread(failure, model, error))
            return
        self._loaded, self._near, self._changes, self._at = loaded, {}, Changes(), -1
        self._chat = self._chat and loaded.kind == "chat"
        self.mlx.remembered.set(MODEL, model)
        self._tell("#about", heading(loaded))
        self._status(f"! {printable(loaded.note)}" if loaded.note else "")
        prompt = self.query_one("#prompt", Input)
        if not prompt.value:
            prompt.value = (await asyncio.to_thread(sample_prompt_of, loaded.address)).strip() or _PROMPT
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
        table, changes = self.query_one(LayerTable), self._changes
        self._set_twin()
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
                maps=[table.at_layer] if self._view is not None else [0],
                neighbours=_NEIGHBOURS,
                top=8,
            )
        except UserError as error:
            self._status(f"! {error}")
            return
        if self.is_attached:
            self._take(told)

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
        box.border_title = Content(
            f"{'Attention of layer' if width >= 78 else 'Layer'} {table.at_layer}, head {table.at_head}"
        )
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

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Letters are keys outside of the input; most need a walk to change."""
        if isinstance(self.focused, Input) and action in {*_NEEDS_A_VIEW, "write", "model", "chat"}:
            return False
        if action == "undo":
            return self._changes.any
        if action == "chat":
            return self._loaded is not None and self._loaded.kind == "chat"
        return self._view is not None if action in _NEEDS_A_VIEW else True

    def _change(self, changes: Changes) -> None:
        self._changes = changes
        self._walk()

    def action_head(self) -> None:
        """The head under the cursor, off or on."""
        table = self.query_one(LayerTable)
        self._change(self._changes.toggled(f"head:{table.at_layer}.{table.at_head}"))

    def action_mlp(self) -> None:
        """The feed-forward of the layer."""
        self._change(self._changes.toggled(f"mlp:{self.query_one(LayerTable).at_layer}"))

    def action_attention(self) -> None:
        """All heads of the layer."""
        self._change(self._changes.toggled(f"attention:{self.query_one(LayerTable).at_layer}"))

    def action_layer(self) -> None:
        """The whole layer."""
        self._change(self._changes.toggled(f"layer:{self.query_one(LayerTable).at_layer}"))

    def action_positions(self) -> None:
        """Whether tokens know where they stand."""
        self._change(replace(self._changes, positions=not self._changes.positions))

    def action_mask(self) -> None:
        """Whether tokens see only what is before them."""
        self._change(replace(self._changes, causal=not self._changes.causal))

    def action_shuffle(self) -> None:
        """Another order of the pieces."""
        self._change(self._changes.shuffled())

    def action_warmer(self, by: int) -> None:
        """The temperature."""
        self._change(self._changes.warmer(by))

    def action_undo(self) -> None:
        """The model as it is."""
        self._change(Changes())

    @work(exclusive=True, group="ask")
    async def action_patch(self) -> None:
        """What another prompt has behind the layer under the cursor."""
        layer = self.query_one(LayerTable).at_layer
        _, _, before = self._changes.patch.partition("@")
        question = (
            f"Another prompt: what it has behind layer {layer} at its last piece is put in place of what this one has at the "
            f"piece that is looked at. x takes it back."
        )
        text = await self.mlx.ask(question, before or self._text, check=check_patch)
        if text is not None:
            self._change(replace(self._changes, patch=f"{layer}@{text}"))

    def action_position(self, by: int) -> None:
        """Look at another piece: what comes behind it."""
        if self._view is not None:
            self._at = min(max(self._view.at + by, 0), len(self._view.pieces) - 1)
            self._walk()

    def action_chat(self) -> None:
        """The prompt as a question, or as it stands."""
        self._chat, self._at = not self._chat, -1
        self.mlx.tell("as a question, in the chat template" if self._chat else "as it stands, without a template")
        self._walk()

    def action_write(self) -> None:
        """To the end of the prompt."""
        prompt = self.query_one("#prompt", Input)
        prompt.focus()
        prompt.cursor_position = len(prompt.value)

    @work(exclusive=True, group="ask")
    async def action_model(self) -> None:
        """Another model."""
        current = self._loaded.address if self._loaded is not None else self._model
        model: str | None = await self.app.push_screen_wait(ModelPicker(current=current))
        if model is not None:
            self.open_model(model)
