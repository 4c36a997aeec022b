"""The themes, made so that all text has a contrast of 4.5 : 1 or better (WCAG 2.2, success criterion 1.4.3).

Textual's own light themes and the muted text of its dark ones fall short of that; a test renders every screen in every
theme and measures it.
"""

from textual.color import Color
from textual.theme import Theme

from tui.marks import Terminal

LEAST_CONTRAST = 4.5


def _theme(name: str, *, dark: bool, muted: str, selected: tuple[str, str], **colours: str) -> Theme:
    """A theme whose texts and cursors are named outright, where Textual would derive them by blending.

    Args:
        name: of the theme.
        dark: light text on a dark ground.
        muted: less important text.
        selected: text and ground of the line that the keys act on.
        colours: the theme's.
    """
    foreground, panel = colours["foreground"], colours["panel"]
    text, ground = selected
    named = {
        "text": foreground,
        "text-muted": muted,
        "text-disabled": muted,
        "foreground-muted": muted,
        "foreground-disabled": muted,
        **{f"text-{role}": colours[role] for role in ("primary", "secondary", "warning", "error", "success", "accent")},
        "block-cursor-foreground": text,
        "block-cursor-background": ground,
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-foreground": foreground,
        "block-cursor-blurred-background": panel,
        "block-hover-background": panel,
        "input-cursor-foreground": colours["background"],
        "input-cursor-background": foreground,
        "input-selection-foreground": text,
        "input-selection-background": ground,
        "screen-selection-foreground": text,
        "screen-selection-background": ground,
        "footer-foreground": foreground,
        "footer-background": panel,
        "footer-key-foreground": colours["accent"],
        "footer-description-foreground": foreground,
        "border": colours["primary"],
        "border-blurred": muted,
        "link-color": colours["primary"],
        "button-foreground": foreground,
        "button-color-foreground": colours["background"],
        **{f"markdown-h{n}-color": colours["primary" if n % 2 else "accent"] for n in range(1, 7)},
    }
    return Theme(name=name, dark=dark, variables=named, **colours)  # type: ignore[arg-type]  # all of them are colours


THEMES = (
    _theme(
        "midnight",
        dark=True,
        muted="#afbccc",
        selected=("#ffffff", "#23425f"),
        background="#0e141b",
        surface="#131b24",
        panel="#1d2833",
        foreground="#e3eaf2",
        primary="#8fc1ff",
        secondary="#b9a6ff",
        accent="#f2c572",
        success="#7fdc9a",
        warning="#f5c451",
        error="#ff9a94",
    ),
    _theme(
        "daylight",
        dark=False,
        muted="#4a5560",
        selected=("#10151b", "#c9def5"),
        background="#fbfaf7",
        surface="#f4f2ec",
        panel="#e9e6dd",
        foreground="#1b2129",
        primary="#0b57a4",
        secondary="#6436b0",
        accent="#8a4600",
        success="#14622f",
        warning="#7a4b00",
        error="#a6192a",
    ),
    _theme(
        "ember",
        dark=True,
        muted="#bfae9d",
        selected=("#fff7ef", "#553319"),
        background="#17110d",
        surface="#1f1813",
        panel="#2c221b",
        foreground="#f3e9df",
        primary="#f4b268",
        secondary="#e3a3c7",
        accent="#8fd0c6",
        success="#b2d67f",
        warning="#ffd479",
        error="#ff9d86",
    ),
    _theme(
        "contrast",
        dark=True,
        muted="#d0d0d0",
        selected=("#ffffff", "#00408a"),
        background="#000000",
        surface="#000000",
        panel="#1c1c1c",
        foreground="#ffffff",
        primary="#7fd4ff",
        secondary="#e0b0ff",
        accent="#ffff00",
        success="#7dff7d",
        warning="#ffd700",
        error="#ffa0a0",
    ),
    # Colours that xterm's palette of 256 has, so that a terminal without more shows them as they are meant.
    _theme(
        "terminal",
        dark=True,
        muted="#bcbcbc",
        selected=("#ffffff", "#3a3a3a"),
        background="#121212",
        surface="#1c1c1c",
        panel="#262626",
        foreground="#e4e4e4",
        primary="#87d7ff",
        secondary="#d7afff",
        accent="#ffd787",
        success="#87d787",
        warning="#ffd75f",
        error="#ffafaf",
    ),
    _theme(
        "terminal-light",
        dark=False,
        muted="#4e4e4e",
        selected=("#000000", "#d7d7ff"),
        background="#ffffff",
        surface="#ffffff",
        panel="#eeeeee",
        foreground="#1c1c1c",
        primary="#005faf",
        secondary="#5f00af",
        accent="#5f5f00",
        success="#005f00",
        warning="#5f5f00",
        error="#af0000",
    ),
)


def default_theme(terminal: Terminal) -> str:
    """The theme of a first start."""
    return "midnight" if terminal.true_colour else "terminal"


def contrast(one: Color, other: Color) -> float:
    """The contrast ratio of two opaque colours, from 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Color) -> float:
    """Relative luminance (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
