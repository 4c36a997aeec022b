"""The last line or two of a screen: the keys that work now, and always help, all actions and quit."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.binding import ActiveBinding
from textual.content import Content
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, TextArea

_PINNED = ("help", "command_palette", "quit")
"""Actions that can always be seen, at the end of the last line."""
_LEAVE = "app.leave"
"""The name of the key that is shown in an input only."""
_MOST_LINES = 2
_ROWS_FOR_TWO_LINES = 20
"""A terminal that is lower keeps its rows."""


@dataclass(frozen=True)
class Key:
    """A key with what it does."""

    key: str
    """As Textual names it."""
    display: str
    action: str
    description: str
    enabled: bool = True
    tooltip: str = ""


@dataclass(frozen=True)
class Item:
    """What stands together: one key and its words, or several keys with words for all."""

    keys: tuple[Key, ...]
    words: str

    @property
    def off(self) -> bool:
        """Whether none of its keys can be used just now."""
        return bool(self.keys) and not any(key.enabled for key in self.keys)

    def parts(self) -> list[tuple[str, Key | None]]:
        """Its text in parts, those of a key with it; brackets say without colour that it cannot be used just now."""
        parts: list[tuple[str, Key | None]] = [("(" if self.off else " ", None)]
        for number, key in enumerate(self.keys):
            parts += [(" ", None)] * (number > 0) + [(key.display, key)]
        own = self.keys[0] if len(self.keys) == 1 else None
        parts += [(f" {self.words}" if self.keys else self.words, own)] if self.words else []
        return [*parts, (")" if self.off else " ", None)]

    @property
    def cells(self) -> int:
        """Its width."""
        return sum(cell_len(text) for text, _ in self.parts())


def lay_out(
    items: Sequence[Item], pinned: Sequence[Item], width: int, least: int, most: int, more: str = "…"
) -> list[list[Item | int]]:
    """What stands in each line; a number is so many blanks.

    Args:
        items: in the order of their importance; what has no room is left out, which `more` says.
        pinned: always there, at the right end of the last line; without their words where these have no room.
        width: in cells.
        least: lines at least.
        most: lines at most.
        more: a sign.
    """
    sign = Item((), more)
    if sum(item.cells for item in pinned) > width:
        pinned = [Item(item.keys, "") for item in pinned]
    held = sum(item.cells for item in pinned)
    total = sum(item.cells for item in items)
    count = min(most, max(least, 1 if total + held <= width else most))
    lines: list[list[Item | int]] = []
    left = list(items)
    for number in range(1, count + 1):
        room = width - (held if number == count else 0)
        line: list[Item | int] = []
        while left and left[0].cells <= room - (sign.cells if number == count and len(left) > 1 else 0):
            room -= left[0].cells
            line.append(left.pop(0))
        if number == count:
            if left and room >= sign.cells:
                line.append(sign)
                room -= sign.cells
            line += [room, *pinned] if room > 0 else pinned
        lines.append(line)
    return lines


class KeysBar(Widget, can_focus=False):
    """The active keys of its screen in one line, or two where they need it; a click presses the key.

    Outside of inputs it never becomes lower as long as the width stays, so that what is above it stands still while a
    cursor moves.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys-bar--key", "keys-bar--off", "keys-bar--under-mouse"}
    DEFAULT_CSS = """
    KeysBar { dock: bottom; height: auto; color: $footer-foreground; background: $footer-background; }
    KeysBar .keys-bar--key { color: $footer-key-foreground; text-style: bold; }
    KeysBar .keys-bar--off { text-style: dim; }
    KeysBar .keys-bar--under-mouse { background: $block-hover-background; text-style: underline; }
    """

    def __init__(self) -> None:
        """Nothing is known yet: the screen says when its keys are."""
        super().__init__()
        self._items: list[Item] = []
        self._pinned: list[Item] = []
        self._typing = False
        self._least = (0, 1)
        """A width, and how many lines were needed at it."""
        self._places: list[tuple[int, int, int, Key]] = []
        """Line, first and last cell + 1 of each key."""
        self._under_mouse: Key | None = None

    @property
    def shown(self) -> list[Key]:
        """The keys that can be seen, as they were drawn last."""
        return [key for _, _, _, key in self._places]

    def on_mount(self) -> None:
        """Hear of changes."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def on_unmount(self) -> None:
        """Nobody listens any more."""
        self.screen.bindings_updated_signal.unsubscribe(self)

    def _changed(self, screen: Screen[object]) -> None:
        # In a terminal that is not in front nothing has the focus; the keys stay as they were.
        if screen.app.app_focus and self.is_attached and screen is self.screen:
            self.call_after_refresh(self._look)

    def _look(self) -> None:
        if not self.is_attached:
            return
        items, pinned = self._found()
        if (items, pinned) != (self._items, self._pinned):
            self._items, self._pinned = items, pinned
            self.refresh(layout=True)

    def _found(self) -> tuple[list[Item], list[Item]]:
        """All keys to be shown, and those that are pinned."""
        typing = self._typing = isinstance(self.screen.focused, (Input, TextArea))
        shown: dict[str, ActiveBinding] = {}
        pinned: dict[str, ActiveBinding] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if active.node is self.app and binding.action in _PINNED:
                # Where a letter would be typed, a key that is not shown elsewhere does the same.
                if binding.show or binding.action not in pinned:
                    pinned[binding.action] = active
            elif binding.show or (typing and binding.id == _LEAVE):
                shown.setdefault(binding.action, active)
        items: list[Item] = []
        for group, members in groupby(shown.values(), lambda active: active.binding.group):
            keys = [self._key(active) for active in members]
            items += [Item(tuple(keys), group.description)] if group else [Item((k,), k.description) for k in keys]
        last = [self._key(pinned[action]) for action in _PINNED if action in pinned]
        return items, [Item((key,), key.description) for key in last]

    def _key(self, active: ActiveBinding) -> Key:
        binding = active.binding
        display = self.app.get_key_display(binding)
        return Key(
            binding.key,
            display,
            binding.action,
            binding.description,
            active.enabled,
            active.tooltip or binding.description,
        )

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line, or two."""
        return len(self.lines(width))

    def lines(self, width: int) -> list[list[Item | int]]:
        """What stands in each line of a bar that is so wide; a number is so many blanks."""
        most = _MOST_LINES if self.app.size.height >= _ROWS_FOR_TWO_LINES else 1
        least = self._least[1] if self._least[0] == width and not self._typing else 1
        if self.screen.is_modal:  # else a line of the bar below it would be seen
            least = max([least, *(bar.size.height for bar in self.app.screen_stack[0].query(KeysBar))])
        more = "..." if self.app.has_class("ascii") else "…"
        lines = lay_out(self._items, self._pinned, width, least, most, more)
        if not self._typing:
            self._least = (width, len(lines))
        return lines

    def render(self) -> RenderResult:
        key_style, off, under = (
            self.get_visual_style(f"keys-bar--{name}", partial=True) for name in ("key", "off", "under-mouse")
        )
        self._places = []
        lines: list[Content] = []
        for number, line in enumerate(self.lines(self.size.width)):
            parts: list[Content] = []
            x = 0
            for item in line:
                if isinstance(item, int):
                    parts.append(Content(" " * item))
                    x += item
                    continue
                for text, key in item.parts():
                    part = Content(text)
                    if key is not None:
                        if text == key.display:
                            part = part.stylize(key_style)
                            self._places.append((number, x, x + cell_len(text), key))
                        else:  # its words
                            self._places[-1] = (number, self._places[-1][1], x + cell_len(text), key)
                        part = part.stylize(under) if key is self._under_mouse else part
                    parts.append(part.stylize(off) if item.off else part)
                    x += cell_len(text)
            lines.append(Content("").join(parts))
        return Content("\n").join(lines)

    def _at(self, x: int, y: int) -> Key | None:
        return next((key for line, first, end, key in self._places if line == y and first <= x < end), None)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """What a click would press, in other words than the short ones."""
        found = self._at(event.x, event.y)
        if found is not self._under_mouse:
            self._under_mouse = found
            self.tooltip = found.tooltip if found else None
            self.refresh()

    def on_leave(self) -> None:
        """The mouse has gone."""
        self._under_mouse = None
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """As the key does."""
        event.stop()
        key = self._at(event.x, event.y)
        if key is None:
            return
        if key.enabled:
            self.app.simulate_key(key.key)
        else:
            self.app.bell()
