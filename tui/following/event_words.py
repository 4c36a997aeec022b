"""Events of a run in words, for the log."""

from typing import Any

from mlxllm.runs import Event, bits_by_source
from tui.words import duration, printable

_TEXT_CHARS = 70


def in_words(event: Event) -> str | None:
    """What happened; None for a step, of which there are too many, and for what belongs to a validation."""
    kind = event["kind"]
    if kind in ("train", "probe"):
        return None
    step = event.get("step")
    at = f" at step {step:,}" if isinstance(step, int) else ""
    if kind == "run_started":
        limit = event.get("max_steps")
        goal = f" of {limit:,}" if isinstance(limit, int) else ""
        number = event.get("attempt")
        return f"attempt {number} begins{at}{goal}" if number not in (None, 1) else f"the run begins{at}{goal}"
    if kind == "val":
        each = ", ".join(f"{name} {bits:.4g}" for name, bits in bits_by_source(event).items() if bits is not None)
        all_ = _numbers(event, "loss", "bits_per_byte", "rewards/margins") or "no number"
        return f"validation{at}: {all_}" + (f" ({printable(each)})" if each else "")
    if kind == "sample":
        asked = "answer" if event.get("request") else "sample"
        if event.get("error"):
            return f"{asked}{at} failed: {_short(event['error'])}"
        return f"{asked}{at}: {_short(event.get('text', ''))}"
    if kind == "checkpoint_saved":
        best = ", the best so far" if event.get("best") else ""
        return f"checkpoint saved{at}{best}"
    if kind == "warning":
        return str(event.get("message") or f"warning{at}")
    if kind == "run_finished":
        reason = f": {event['reason']}" if event.get("reason") else ""
        return f"the run ended{at}, {event.get('status', 'nobody knows how')}{reason}"
    seconds = event.get("seconds")
    took = f" in {duration(seconds)}" if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) else ""
    return f"{kind.replace('_', ' ')}{at}{took}"


def _numbers(event: Event, *keys: str) -> str:
    found = [(key.replace("_", " "), event.get(key)) for key in keys]
    return ", ".join(
        f"{name} {value:.4g}"
        for name, value in found
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    )


def _short(text: Any) -> str:
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= _TEXT_CHARS else f"{line[:_TEXT_CHARS]}..."
