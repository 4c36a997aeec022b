"""Superscripts and subscripts in a line of text: Unicode's where it has them, else marked so that nothing is misread."""

import re

_RAISED = str.maketrans("0123456789+-−–‐=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁻⁼⁽⁾ⁿⁱ")
_LOWERED = str.maketrans("0123456789+-−–‐=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₋₋₌₍₎")
_UNICODE_RAISED = re.compile(r"[0-9+−–‐-]*[0-9+−–‐-](?:/[0-9+−–‐-]+)?|[ni]")
_UNICODE_LOWERED = re.compile(r"[0-9+−–‐-]+|[0-9]+[A-Za-z]+|[0-9]+(?:,[0-9]+)+")
_ORDINALS = {"st", "nd", "rd", "th"}
_DEGREES = {"o", "º", "°"}
_ONE_SIGN = re.compile(r"\W")


def raised(text: str) -> str:
    """A superscript: ⁻⁶, ²⁺, °, ^low; ordinals and single signs as they are (1st, ′)."""
    if _UNICODE_RAISED.fullmatch(text):
        return text.translate(_RAISED)
    if text in _DEGREES:
        return "°"
    if not text or text in _ORDINALS or text in ("TM", "SM") or _ONE_SIGN.fullmatch(text):
        return {"TM": "™", "SM": "℠"}.get(text, text)
    return f"^{text}" if text.isalnum() else f"^({text})"


def lowered(text: str) -> str:
    """A subscript: ₂, ₂max; letters alone as they are, as in Vmax."""
    return text.translate(_LOWERED) if _UNICODE_LOWERED.fullmatch(text) else text
