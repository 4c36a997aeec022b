"""A passage of text whose tokens are coloured by how well a model predicts them, from green to red."""

from collections.abc import Sequence

from textual.color import Color
from textual.content import Content
from textual.widgets import Static

from tui.themes import LEAST_CONTRAST, contrast

_GROUNDS = (("success", 0.75), ("success", 0.28), ("warning", 0.28), ("error", 0.28), ("error", 0.75))
"""Class -> a colour of the theme, and its share in the ground."""
_WRITTEN = ("", "", "italic", "underline", "bold underline")
"""The same without colour."""


class PassageText(Static):
    """Tokens in reading order."""

    DEFAULT_CSS = """
    PassageText { height: auto; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        """Nothing is shown yet."""
        super().__init__(id=id, markup=False)
        self._tokens: Sequence[tuple[str, int | None]] = ()

    def show_tokens(self, tokens: Sequence[tuple[str, int | None]]) -> None:
        """Show these: text and class, None for one without a loss."""
        self._tokens = tokens
        self.update(Content.assemble(*(self._painted(text, class_) for text, class_ in tokens)))

    def on_mount(self) -> None:
        """Other themes have other grounds."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self.show_tokens(self._tokens))

    def legend(self, names: Sequence[str]) -> Content:
        """What each class looks like and means."""
        parts = [part for number, name in enumerate(names) for part in (self._painted(f" {name} ", number), " ")]
        return Content.assemble(*parts)

    def _painted(self, text: str, class_: int | None) -> tuple[str, str]:
        if class_ is None:
            return text, "$text-muted"
        colours = self.app.theme_variables
        role, share = _GROUNDS[class_]
        ground = Color.parse(colours["background"]).blend(Color.parse(colours[role]), share)
        written = Color.parse(colours["foreground"])
        if contrast(written, ground) < LEAST_CONTRAST:
            written = max((Color.parse("black"), Color.parse("white")), key=lambda each: contrast(each, ground))
        return text, f"{_WRITTEN[class_]} {written.hex} on {ground.hex}".strip()
