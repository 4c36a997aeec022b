"""What the table of runs shows of each: its cells, the differences to a baseline, and the words that a filter finds."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from textual.content import Content

from mlxllm import paths
from mlxllm.errors import ConfigError
from mlxllm.runs import RunSummary
from tui.screens.home import status_mark
from tui.widgets.rows import Column
from tui.words import count, duration, number, printable, size_of

_WORDS = {"out_of_memory": "no memory"}
"""Of a status, where its own name is too long for its column."""
_LOSS_WIDTH = 6
_LOSSES = ("loss", "val", "bits/byte")
_DIFFERENCE_WIDTH = 8


def columns(with_differences: bool) -> list[Column]:
    """The columns; those of losses are wider where differences stand in them."""
    found = [
        Column("run", 16, grows=True),
        Column("status", 12),
        Column("loss", _LOSS_WIDTH, right=True, rank=2),
        Column("val", _LOSS_WIDTH, right=True),
        Column("bits/byte", 9, right=True, rank=1),
        Column("tokens", 6, right=True, rank=3),
        Column("time", 11, right=True, rank=4),
        Column("data", 14, rank=5),
        Column("method", 8, rank=6),
        Column("from", 18, rank=8),
        Column("created", 11, rank=7),
    ]
    if not with_differences:
        return found
    return [Column(c.title, c.width + _DIFFERENCE_WIDTH, c.right, c.rank) if c.title in _LOSSES else c for c in found]


def address(run: RunSummary) -> str:
    """What to type for a run: its name, or its path where the name alone would not be taken."""
    with suppress(ConfigError):
        if paths.new("runs", run.name) == paths.folder("runs") / run.name:
            return run.name
    return run.path


def cells(
    run: RunSummary, *, baseline: RunSummary | None, marked: bool, doing: str, ascii_only: bool
) -> Sequence[Content | str]:
    """The cells of a run under `columns`.

    Args:
        run: the run.
        baseline: the run to which losses are compared.
        marked: whether it is selected.
        doing: what is being done with it, `evaluating`, `exporting` or `reporting`; empty for nothing.
        ascii_only: whether marks must be ASCII.
    """
    mark, colour = status_mark(run.status, ascii_only)
    is_baseline = baseline is not None and baseline.name == run.name
    signs = ("*" if ascii_only else "●") if marked else ""
    signs += ("=" if ascii_only else "◆") if is_baseline else ""
    name = printable(run.name)
    values = losses(run)
    others = losses(baseline) if baseline is not None and not is_baseline and comparable(run, baseline) else {}
    return (
        Content.assemble((f"{signs} ", "bold $accent"), name) if signs else name,
        Content.assemble((mark, colour), f" {doing or _WORDS.get(run.status, run.status)}"),
        *(_loss(values[title], others.get(title), baseline is not None) for title in _LOSSES),
        count(run.tokens),
        duration(run.seconds) if run.seconds else "-",
        printable(run.dataset or "-"),
        run.method or "-",
        printable(run.model or "-"),
        time.strftime("%m-%d %H:%M", time.localtime(run.created)) if run.created else "-",
    )


def losses(run: RunSummary) -> dict[str, float | None]:
    """The numbers in the columns of losses."""
    val: Mapping[str, float | None] = run.val or {}
    return {"loss": run.train_loss, "val": val.get("loss"), "bits/byte": val.get("bits_per_byte")}


def comparable(run: RunSummary, baseline: RunSummary) -> bool:
    """Whether the difference of two losses means anything: the same method on the same data."""
    return (run.method, run.dataset) == (baseline.method, baseline.dataset)


def _loss(value: float | None, other: float | None, with_difference: bool) -> Content | str:
    shown = number(value)
    if value is not None and len(shown) > _LOSS_WIDTH and value < 1:
        shown = f"{value:.4f}"
    if not with_difference:
        return shown
    if value is None or other is None:
        return shown + " " * _DIFFERENCE_WIDTH
    difference = value - other
    told = f"{difference:+.4f}"[: _DIFFERENCE_WIDTH - 1] if round(difference, 4) else "="
    colour = "$text-muted" if told == "=" else "$success" if difference < 0 else "$error"
    return Content.assemble(shown, (told.rjust(_DIFFERENCE_WIDTH), colour))


def words_of(run: RunSummary) -> str:
    """All that a filter looks into, in lower case."""
    about = (run.name, run.status, run.method, run.preset, run.dataset, run.model, run.tokenizer)
    return " ".join(part for part in about if part).lower()


def matches(run: RunSummary, words: Iterable[str]) -> bool:
    """Whether each of the words (in lower case) stands somewhere in what is known of the run."""
    text = words_of(run)
    return all(word in text for word in words)


def about(run: RunSummary) -> str:
    """One line on a run: what it is and how far it came."""
    parts = [run.status.replace("_", " ")]
    if run.step or run.max_steps:
        parts.append(f"step {run.step:,}" + (f" of {run.max_steps:,}" if run.max_steps else ""))
    if run.eta_seconds is not None:
        parts.append(f"{duration(run.eta_seconds)} left")
    if run.parameters:
        parts.append(size_of(run.parameters, run.trained_parameters))
    if run.preset:
        parts.append(f"preset {printable(run.preset)}")
    best = run.best_val or {}
    if (loss := best.get("loss")) is not None:
        parts.append(f"best val {number(loss)} at step {best.get('step') or 0:,.0f}")
    accuracy = (run.rewards or {}).get("rewards/accuracies")
    if accuracy is not None:
        parts.append(f"pairs right {100 * accuracy:.0f} %")
    return ", ".join(parts)


def split_words(text: str) -> list[str]:
    """The words of a filter."""
    return re.findall(r"\S+", text.lower())
