"""X-ray: one prompt on its way through a model, head by head and layer by layer, and parts of it switched off."""

from dataclasses import replace
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.widgets import Input

from tui.screens.chat.picker import ModelPicker
from tui.screens.xray.walking import WalkingScreen
from tui.talking.xray import Changes, check_patch
from tui.widgets.layer_table import LayerTable

_NEEDS_A_VIEW = frozenset("head attention mlp layer positions mask shuffle warmer patch undo position lens".split())


class XrayScreen(WalkingScreen):
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
        Binding(
            "v", "lens", "Lens", id="xray.lens", tooltip="Show what each layer would say at each piece, or the map"
        ),
        Binding("e", "write", "Prompt", id="xray.write", tooltip="Write another prompt"),
        Binding("m", "model", "Model", id="xray.model"),
        Binding("comma,less_than_sign", "position(-1)", "Piece before", key_display=",", show=False, id="xray.before"),
        Binding(
            "full_stop,greater_than_sign", "position(1)", "Piece after", key_display=".", show=False, id="xray.after"
        ),
        Binding("c", "chat", "As a question", show=False, id="xray.chat", tooltip="Ask a tuned model, in its template"),
    ]

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

    def action_lens(self) -> None:
        """The lens at all pieces, or the map of the head."""
        self._lens = not self._lens
        self._show()

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
