"""A chart of runs: a min/max envelope of every step under a smoothed line, and validation as marks on top.

The picture is made from views of series (`tui.following.series`) in a time that does not depend on how many points they hold.
What is drawn where is in `plot.py`; this is the widget: keys, mouse, the stretch that is shown, the numbers under the
cursor.
"""

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from tui.following.series import Axis
from tui.marks import Marks
from tui.widgets.plot import Picture, draw
from tui.widgets.traces import LAYERS, Trace, Window, span_of

_ZOOM = 0.5
_WHEEL_ZOOM = 0.8
"""A wheel, and more so a touch pad, turns by many small clicks."""
_PAN = 0.25
_LEAST_SPAN = {"step": 4.0, "tokens": 4.0, "time": 0.05}
"""Nobody needs to see less."""


class Chart(Widget, can_focus=True):
    """Curves over steps, tokens or time. Give it `traces` whenever there are new ones."""

    HELP = (
        "The chart: the shaded band is every step from least to greatest, the line in it a smoothed mean, o a validation, "
        "! below it a step whose loss was not finite, ^ a value above the picture. The mean is of about the last 20 steps, "
        "and of a fifth of them while there are fewer than 100. + and - or the wheel zoom, left and right or dragging move, "
        "f shows everything, end follows the newest steps, [ and ] or the mouse move the cursor that reads values."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False, key_display="+", id="chart.zoom_in"),
        Binding("minus", "zoom(-1)", "Zoom out", show=False, key_display="-", id="chart.zoom_out"),
        Binding("left", "pan(-1)", "Earlier", show=False, id="chart.earlier"),
        Binding("right", "pan(1)", "Later", show=False, id="chart.later"),
        Binding("f", "fit", "Show everything", show=False, id="chart.fit"),
        Binding("end", "follow", "Follow the newest", show=False, id="chart.follow"),
        Binding(
            "left_square_bracket", "read(-1)", "Read to the left", show=False, key_display="[", id="chart.read_left"
        ),
        Binding(
            "right_square_bracket", "read(1)", "Read to the right", show=False, key_display="]", id="chart.read_right"
        ),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{name}" for name in LAYERS}
    DEFAULT_CSS = """
    Chart { background: $background; color: $foreground; min-height: 3; height: 1fr; }
    Chart .chart--title { color: $foreground; text-style: bold; }
    Chart:focus .chart--title { color: $block-cursor-foreground; background: $block-cursor-background; }
    Chart .chart--text { color: $foreground; }
    Chart .chart--axis { color: $text-muted; }
    Chart .chart--cursor { color: $accent; }
    Chart .chart--trouble { color: $error; text-style: bold; }
    Chart .chart--band { color: $text-muted; }
    Chart .chart--line-0 { color: $primary; text-style: bold; }
    Chart .chart--line-1 { color: $accent; }
    Chart .chart--line-2 { color: $secondary; }
    Chart .chart--line-3 { color: $success; }
    Chart .chart--line-4 { color: $warning; }
    Chart .chart--line-5 { color: $error; }
    Chart .chart--points { color: $foreground; text-style: bold; }
    """

    axis: reactive[Axis] = reactive("step")
    """What the curves are drawn over."""
    log_scale: reactive[bool] = reactive(False)
    """A logarithmic scale for the values."""
    cursor: reactive[float | None] = reactive(None)
    """The place on the axis whose values are read out; None for the newest."""

    def __init__(
        self,
        title: str,
        *,
        marks: Marks,
        empty: str = "nothing to show yet",
        keys: str = "",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """An empty chart.

        Args:
            title: what the values are, for example "loss".
            marks: what dots are made of.
            empty: the sentence that stands there without points.
            keys: what the screen's keys do to it, shown where there is room.
            id: of the widget.
            classes: of the widget.
        """
        super().__init__(id=id, classes=classes)
        self.title, self.marks, self.empty, self.keys = title, marks, empty, keys
        self._traces: tuple[Trace, ...] = ()
        self._window: tuple[float, float] | None = None
        """The stretch that is shown; None for all of it."""
        self._following = True
        self._hovering = False
        self._held: tuple[int, tuple[float, float]] | None = None
        """Where the mouse was pressed, and what was shown then."""
        self._picture: tuple[Size, Picture] | None = None
        self._styles: tuple[list[Style], Style] | None = None

    @property
    def traces(self) -> Sequence[Trace]:
        """What is drawn, the first one on top."""
        return self._traces

    @traces.setter
    def traces(self, traces: Sequence[Trace]) -> None:
        before = span_of(self._traces, self.axis)
        self._traces = tuple(traces)
        now = span_of(self._traces, self.axis)
        if self._window is not None and self._following and now is not None and before is not None:
            width = self._window[1] - self._window[0]
            self._window = (now[1] - width, now[1])
        self._redraw()

    @property
    def window(self) -> tuple[float, float] | None:
        """First and last place that are shown; None without points."""
        span = span_of(self._traces, self.axis)
        if span is None or self._window is None:
            return span
        return self._window

    @property
    def following(self) -> bool:
        """Whether new steps stay in sight."""
        return self._following

    # The picture.

    def _redraw(self) -> None:
        self._picture = None
        self.refresh()

    def notify_style_update(self) -> None:
        """Another theme: other colours."""
        super().notify_style_update()
        self._picture = self._styles = None

    def render_line(self, y: int) -> Strip:
        if self._picture is None or self._picture[0] != self.size:
            self._picture = (self.size, self._draw())
        strips = self._picture[1].strips
        return strips[y] if y < len(strips) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self) -> Picture:
        if self._styles is None:
            ground: Style = self.rich_style
            own = [self.get_component_rich_style(f"chart--{name}", partial=True) for name in LAYERS]
            self._styles = ([ground + style for style in own], ground)
        window = Window(self.title, self.axis, self.window, self.log_scale, self.cursor, self.empty, self.keys)
        size = (self.size.width, self.size.height)
        return draw(self._traces, window, size, self.marks, *self._styles)

    def watch_log_scale(self) -> None:
        """Another scale."""
        self._redraw()

    def watch_axis(self) -> None:
        """Another axis: places on the old one mean nothing on it."""
        self._window, self._following, self.cursor = None, True, None
        self._redraw()

    def watch_cursor(self) -> None:
        """Other numbers are read out."""
        self._redraw()

    # The stretch that is shown.

    def _show(self, first: float, last: float) -> None:
        """Show from `first` to `last`, moved or cut so that it lies within what there is."""
        span = span_of(self._traces, self.axis)
        if span is None:
            return
        width = max(last - first, _LEAST_SPAN[self.axis])
        if width >= span[1] - span[0]:
            self._window, self._following = None, True
        else:
            first = min(max(first, span[0]), span[1] - width)
            self._window = (first, first + width)
            self._following = first + width >= span[1]
        self._redraw()

    def zoom(self, factor: float, about: float | None = None) -> None:
        """Show `factor` times as much, `about` (by default the cursor, the newest or the middle) staying where it is."""
        window = self.window
        if window is None:
            return
        first, last = window
        if about is None:
            inside = self.cursor is not None and first <= self.cursor <= last
            about = self.cursor if inside else last if self._following else (first + last) / 2
        assert about is not None
        # No less than can be told apart, and that around the same place.
        factor = max(factor, _LEAST_SPAN[self.axis] / max(last - first, 1e-9)) if factor < 1 else factor
        self._show(about - (about - first) * factor, about + (last - about) * factor)

    def action_zoom(self, direction: int) -> None:
        """Half as much, or twice as much."""
        self.zoom(_ZOOM if direction > 0 else 1 / _ZOOM)

    def action_pan(self, direction: int) -> None:
        """A quarter of the picture earlier or later."""
        if (window := self.window) is not None:
            by = (window[1] - window[0]) * _PAN * direction
            self._show(window[0] + by, window[1] + by)

    def action_fit(self) -> None:
        """Everything."""
        self._window, self._following, self.cursor = None, True, None
        self._redraw()

    def action_follow(self) -> None:
        """The newest steps, as wide as now, from now on."""
        self.cursor = None
        if (window := self.window) is not None and (span := span_of(self._traces, self.axis)) is not None:
            self._show(span[1] - (window[1] - window[0]), span[1])
        self._following = True

    # The cursor.

    def action_read(self, direction: int) -> None:
        """Move the cursor by one column, or by one step where these are wider."""
        main = next((trace.line for trace in self._traces if trace.line is not None and len(trace.line)), None)
        window = self.window
        if main is None or window is None:
            return
        places = main.steps[self.axis]
        column = (window[1] - window[0]) / max(1, self._plot_width())
        if self.cursor is None:  # it appears at the end that the key points away from
            target = main.nearest(self.axis, window[1] if direction < 0 else window[0])
        else:
            at = main.nearest(self.axis, self.cursor)
            target = main.nearest(self.axis, self.cursor + direction * column)
            if at is not None and target == at:
                target = min(max(at + direction, 0), len(places) - 1)
        assert target is not None
        self.cursor = float(places[target])
        if not window[0] <= self.cursor <= window[1]:
            self.action_pan(direction)

    def _plot_width(self) -> int:
        return self._picture[1].plot[1] if self._picture is not None else self.size.width

    def _place_at(self, x: int) -> float | None:
        """The place on the axis under a column of cells."""
        if self._picture is None or (window := self.window) is None:
            return None
        left, width = self._picture[1].plot
        if not left <= x < left + width:
            return None
        return window[0] + (x - left + 0.5) / width * (window[1] - window[0])

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Read out what is under the mouse; with its button held, take the picture along."""
        if self._held is not None and self._picture is not None:
            pressed, (first, last) = self._held
            by = (pressed - event.x) / max(1, self._picture[1].plot[1]) * (last - first)
            self._show(first + by, last + by)
            return
        place = self._place_at(event.x)
        if place is not None:
            self._hovering = True
            self.cursor = place
        else:
            self.on_leave()

    def on_leave(self) -> None:
        """The mouse has left: the newest numbers again; a cursor set by keys stays."""
        if self._hovering:
            self._hovering = False
            self.cursor = None

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """From here on the mouse drags the picture."""
        if (window := self.window) is not None:
            self._held = (event.x, window)
            self.capture_mouse()

    def on_mouse_up(self) -> None:
        """It is where it should be."""
        self._held = None
        self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel: closer; with shift, earlier."""
        event.stop()
        self.action_pan(-1) if event.shift else self.zoom(_WHEEL_ZOOM, self._place_at(event.x))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel: further away; with shift, later."""
        event.stop()
        self.action_pan(1) if event.shift else self.zoom(1 / _WHEEL_ZOOM, self._place_at(event.x))

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        """The wheel or the touch pad, sideways: earlier."""
        event.stop()
        self.action_pan(-1)

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        """Later."""
        event.stop()
        self.action_pan(1)
