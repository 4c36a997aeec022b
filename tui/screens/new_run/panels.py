"""What the screen of a new run says of its costs and its differences from the recipe, and the report of a dry run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from textual.content import Content

from mlxllm.dials import time_label
from tui.machine import TRAINABLE_SHARE
from tui.marks import Marks
from tui.planning.forecast import Forecast
from tui.words import count, duration, file_size, memory_size

_LABEL = 11
_NARROW = 46


def costs_text(known: Forecast, marks: Marks, width: int, *, measuring: bool = False) -> Content:
    """The live numbers, a line each, in `width` columns; `measuring` says that the machine's speed is being found out."""
    costs = known.costs
    lines = [_line("parameters", _parameters(known))]
    if known.config.method == "pretrain" and known.tokens:
        each = f"{_short(known.tokens / costs.parameters)} tokens"
        if width < _NARROW:
            lines.append(_line("reads", f"{each} per parameter"))
        else:
            lines = [_line("parameters", f"{_parameters(known)}, {each} read per parameter")]
    if known.steps is not None:
        about = "about " if known.by_time else ""
        lines.append(_line("steps", f"{about}{known.steps:,}" + ("" if known.tokens is None else _of_tokens(known))))
    if known.passes is not None:
        lines.append(_line("data", "once through" if known.passes == 1 else f"{_short(known.passes)} times through"))
    lines.append(Content.assemble(_label("memory"), *_memory(known, marks, width)))
    lines.append(_line("checkpoint", file_size(costs.checkpoint_bytes)))
    lines += _time(known, measuring)
    return Content("\n").join(lines)


def _label(name: str) -> tuple[str, str]:
    return f"{name:<{_LABEL}}", "$text-muted"


def _line(name: str, value: str) -> Content:
    return Content.assemble(_label(name), value)


def _parameters(known: Forecast) -> str:
    costs = known.costs
    if known.config.lora is not None:
        return f"{count(costs.parameters)}, {100 * costs.trained_parameters / costs.parameters:.2g} % trained"
    return count(costs.parameters)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}" if number >= 0.01 else "<0.01"


def _of_tokens(known: Forecast) -> str:
    return f" of {count(known.costs.tokens_per_step)} tokens"


def _memory(known: Forecast, marks: Marks, width: int) -> list[Any]:
    share = known.memory_share
    word, colour = ("fits", "$success") if share <= TRAINABLE_SHARE else ("tight", "$warning")
    if share > 1:
        word, colour = "too much", "$error"
    size, of = memory_size(known.costs.training_bytes), memory_size(known.memory_bytes)
    text = f"{size.removesuffix(' GiB')} of {of}" if size.endswith(" GiB") else f"{size} of {of}"
    if width < _NARROW:
        return [text, (f", {word}", colour)]
    full, empty = ("#", ".") if marks == "ascii" else ("━", "╌")
    room = min(20, width - _LABEL - len(text) - len(word) - 6)
    filled = min(room, round(share * room + 0.4))
    return [f"{text} ", (full * filled, colour), (empty * (room - filled), "$text-muted"), (f" {word}", colour)]


def _time(known: Forecast, measuring: bool) -> list[Content]:
    if known.seconds is None:
        return [_line("takes", "known once the data are read")]
    if known.by_time:
        about = _line("takes", f"{time_label(round(known.seconds / 60))}, and then ends")
    else:
        about = _line("takes", f"about {duration(known.seconds)}")
    source = known.source
    if source == "a guess":
        source = "a guess; being measured ..." if measuring else "a guess: m measures it"
    return [about, Content.assemble((" " * _LABEL + source, "$text-muted"))]


def differences_text(differences: Sequence[tuple[str, Any, Any]], recipe: str, width: int, marks: Marks) -> Content:
    """The table of what was changed; in few columns without its head."""
    if not differences:
        return Content.assemble((f"Nothing: all is as preset {recipe} has it. s changes any setting.", "$text-muted"))
    table = [
        ("setting", "preset", "yours"),
        *((key, _value(before), _value(after)) for key, before, after in differences),
    ]
    key, before, after = (max(len(line[column]) for line in table) for column in range(3))
    if key + before + after + 4 <= width:
        lines = [f"{a:<{key}}  {b:>{before}}  {c:>{after}}" for a, b, c in table]
        return Content("\n").join([Content.assemble((lines[0], "$text-muted")), *map(Content, lines[1:])])
    arrow = "->" if marks == "ascii" else "→"
    return Content("\n").join(Content.assemble((f"{a} ", "$text-muted"), f"{b} {arrow} {c}") for a, b, c in table[1:])


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 24 else f"{text[:23]}…"


def dry_run_text(report: Mapping[str, Any]) -> str:
    """What `--dry-run --json` printed, for people: the costs, then every setting."""
    lines = ["It would train. What it costs:", ""]
    costs = (
        ("parameters", count(report.get("parameters"))),
        ("trained", count(report.get("trained_parameters"))),
        ("tokens a step", count(report.get("tokens_per_step"))),
        ("tokens in all", count(report.get("tokens"))),
        ("tokens of the data", count(report.get("dataset_tokens"))),
        ("training memory", memory_size(report.get("training_bytes", 0)) + ", estimated"),
        ("a checkpoint", file_size(report.get("checkpoint_bytes", 0))),
    )
    lines += [f"  {name:<20}{value}" for name, value in costs]
    lines += ["", "All settings, as --config takes them in a file:"]
    config = report.get("config", {})
    lines += [f"{key} = {json.dumps(value)}" for key, value in config.items() if not isinstance(value, dict)]
    for section, values in config.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines)
