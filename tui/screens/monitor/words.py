"""What the Monitor says about a run: where it stands, its numbers, and what to do in each state."""

import re
import socket
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.cells import cell_len
from textual.content import Content

from tui.following.run_view import RunView
from tui.following.ticks import short
from tui.machine import TRAINABLE_SHARE, Machine
from tui.marks import Marks
from tui.screens.home import status_mark
from tui.widgets.shortening import cut_end
from tui.words import GIB, count, duration, printable

_BAR_CELLS = 20
_BAR_WIDTH = 100
"""Cells of the screen from which on there is room for a bar."""
_BAR_MARKS: dict[Marks, tuple[str, str]] = {"braille": ("⣿", "⣀"), "block": ("█", "▁"), "ascii": ("#", "-")}
_STAGE = re.compile(r"^(\d+)/(\d+)  +(\S.*)$", re.MULTILINE)
"""How a quickstart announces its next stage."""
_STAGE_CHARS = 60
_FEWEST_NAME_CELLS = 4
_SUFFIX = re.compile(r"(?:\.[A-Za-z]\w{0,6}){1,3}$")
_WORSE = 1.01
"""A loss this much higher than an earlier one is no noise."""
_EXAM = re.compile(r"^ *base +sft +dpo .*\n *(\d+ %) +(\d+ %) +(\d+ %) +(\S.*)$", re.MULTILINE)
"""How it tells what its three stages are worth; the first line of the table."""
STATUS_WORDS = {"out_of_memory": "out of memory"}


def head_line(view: RunView, marks: Marks, width: int) -> Content:
    """Mark, name, status, how far it is and how long it takes still; with a bar where there is room."""
    mark, colour = status_mark(view.status, marks == "ascii")
    parts: list[Content | str | tuple[str, str]] = [
        (f"{mark} ", colour),
        (printable(view.name), "bold"),
        f"  {STATUS_WORDS.get(view.status, view.status)}  ",
    ]
    if view.max_steps:
        share = min(1.0, view.step / view.max_steps)
        if width >= _BAR_WIDTH:
            full, empty = _BAR_MARKS[marks]
            done = round(share * _BAR_CELLS)
            parts += [(full * done, "$primary"), (empty * (_BAR_CELLS - done), "$text-muted"), " "]
        parts.append(f"{100 * share:.0f} %  ")
    parts.append(f"step {view.step:,}" + (f" of {view.max_steps:,}" if view.max_steps else ""))
    if view.eta_seconds is not None and view.status == "running":
        parts.append(f"  {duration(view.eta_seconds)} left")
    elif view.seconds:
        parts.append(f"  in {duration(view.seconds)}")
    if view.attempts > 1:
        parts.append(f"  attempt {view.attempts}")
    return Content.assemble(*parts)


def numbers_line(view: RunView, machine: Machine | None, width: int) -> Content:
    """The newest numbers, each with its name, the more important ones first; as many as fit."""
    found: list[tuple[str, str, bool]] = []

    def add(name: str, value: float | None, form: Callable[[float], str], worrying: bool = False) -> None:
        if value is not None and value == value:
            found.append((name, form(value), worrying))

    add("learning rate", view.latest("learning_rate"), short)
    add("gradient norm", view.latest("grad_norm"), short)
    add("tok/s", view.latest("tok_per_sec"), count)
    held = view.latest("footprint") or view.latest("peak_memory")
    if held:
        limit = machine.memory_bytes if machine is not None and is_here(view) else None
        high = limit is not None and held > TRAINABLE_SHARE * limit
        of = f" of {limit / GIB:.1f}" if limit else ""
        add("memory", held, lambda value: f"{value / GIB:.1f}{of} GiB{' !' if high else ''}", high)
    if view.checkpoints:
        found.append(("saved at step", f"{view.checkpoints[-1]:,}", False))
    add("margin", view.latest("rewards/margins"), lambda value: f"{value:.2f}")
    bits = view.val.get("bits_per_byte")
    add("bits per byte", float(bits.values[-1]) if bits is not None else None, lambda value: f"{value:.3f}")
    loss = view.train.get("loss")
    if loss is not None and loss.steps["tokens"][-1]:
        add("tokens read", float(loss.steps["tokens"][-1]), count)
    parts: list[str | tuple[str, str]] = []
    room = width
    for name, text, worrying in found:
        room -= len(name) + len(text) + 3
        if room < -2:
            break
        parts += ["  " if parts else "", (f"{name} ", "$text-muted"), (text, _colour(worrying))]
    return Content.assemble(*parts)


def sources_line(view: RunView, width: int, ascii_only: bool) -> Content:
    """Bits per byte of each source at the newest validation; nothing where there is but one."""
    if not view.val_sources:
        return Content("")
    names = [printable(name) for name in view.val_sources]
    for title, digits in (("bits per byte", 3), ("bits/byte", 2)):
        told = [" -" if bits is None else f" {bits:.{digits}f}" for bits in view.val_sources.values()]
        room = width - len(title) - sum(2 + len(number) for number in told)
        if sum(map(cell_len, names)) <= room:
            break
    else:  # of a path its end without the suffix, and of that its beginning
        names = [_SUFFIX.sub("", name.rpartition("/")[2]) for name in names]
    most = max(map(cell_len, names))
    while most > _FEWEST_NAME_CELLS and sum(min(most, cell_len(name)) for name in names) > room:
        most -= 1
    parts: list[str | tuple[str, str]] = [(title, "$text-muted")]
    for name, number in zip(names, told, strict=True):
        parts += [(f"  {cut_end(name, most, ascii_only=ascii_only)}", "$accent"), (number, "bold")]
    return Content.assemble(*parts)


def _colour(worrying: bool) -> str:
    return "bold $error" if worrying else "bold"


def is_here(view: RunView) -> bool:
    """Whether the run's trainer is, or was, on this machine."""
    return view.state is None or view.state.host == socket.gethostname()


def stage_of(log: str) -> str:
    """What a command of several stages says it does now; "" where it says nothing."""
    found = _STAGE.findall(log)
    if not found:
        return ""
    number, of, words = found[-1]
    words = printable(words.partition(";")[0])
    return f"stage {number} of {of}, {words if len(words) <= _STAGE_CHARS else words[:_STAGE_CHARS] + '...'}"


def exam_of(log: str) -> str:
    """How the stages of a quickstart did in their examination; "" where it was not held."""
    found = _EXAM.search(log)
    if found is None:
        return ""
    base, sft, dpo, about = found.groups()
    return f"{about[:1].upper()}{about[1:]}: base {base}, SFT {sft}, DPO {dpo}."


def sentence(
    view: RunView,
    *,
    waited: float = 0.0,
    next_stage: str = "",
    goes_on: bool = False,
    stage: str = "",
    left: float | None = None,
    exam: str = "",
) -> str:
    """What is going on, and what can be done; "" where there is nothing to say.

    Args:
        view: the run.
        waited: seconds since its trainer was started.
        next_stage: a run that trains now and goes on from this one.
        goes_on: the command that started it is not over.
        stage: what that command does now, where it has several stages.
        left: seconds that all its stages still take.
        exam: how the stages of a quickstart did, when it is over and this is the last of them.
    """
    if view.status in ("damaged", "missing"):
        return view.trouble + (". a shows another run" if view.status == "missing" else "")
    if view.status == "starting" or (view.status == "running" and not view.steps_logged):
        if stage and view.status == "starting":
            return f"It begins, {duration(waited)} so far: {stage}. Then come the first steps."
        told = f"It begins: reading data and compiling take 10 to 30 s, {duration(waited)} so far; then come the first steps."
        return told if waited < 120 else told + " That is long: g shows its log."
    if view.status == "running":
        whole = f"; the whole of it takes about {duration(left)} more" if left else ""
        return " ".join(filter(None, (f"Quick start, {stage}{whole}." if stage else "", _awake(view))))
    if view.status == "paused":
        return "Paused: the model stays in memory and nothing is computed. p goes on."
    if view.status == "stopping":
        return "It stops after the current step and saves."
    if view.report is None:
        return ""
    told = f"{view.report.sentence[:1].upper()}{view.report.sentence[1:]}."
    if next_stage:
        return f"{told} {next_stage} goes on from it: a shows it."
    if goes_on:
        more = f"goes on: {stage}" if stage else "has more to do: g shows what it says"
        return f"{told} The command that started it {more}. c talks to it meanwhile."
    if exam:
        return f"Your model is done. {exam} c talks to it; T there asks all three stages the same."
    if view.status == "finished":
        return f"{told}{_overlearned(view)} c talks to it, r trains it further."
    if view.report.next_command is None:  # it never began: there is nothing to go on from
        return f"{told} 3 begins another run, D on 5 deletes this one."
    from_where = "goes on from the last checkpoint" if view.checkpoints else "begins it anew, for nothing was saved yet"
    return f"{told} r {from_where}{' all the same' if view.status == 'diverged' else ''}."


def _overlearned(view: RunView) -> str:
    """That an earlier checkpoint did better on unseen text, where one did by more than noise."""
    val = view.val.get("loss")
    if val is None or not len(val):
        return ""
    if np.isnan(val.values).all():
        return ""
    best = int(np.nanargmin(val.values))
    if not val.values[-1] > _WORSE * val.values[best]:
        return ""
    return f" It did best on unseen text at step {int(val.steps['step'][best]):,}: {view.address}@best in Chat."


def _awake(view: RunView) -> str:
    if sys.platform == "darwin" and is_here(view):
        return "This Mac is kept awake while it trains; closing the lid still sends it to sleep."
    return ""


def waited_seconds(view: RunView, launched: float | None) -> float:
    """Seconds since the trainer was started.

    Args:
        view: the run.
        launched: when it was started detached, unix seconds; None where it was not.
    """
    begun = max(view.state.started if view.state is not None else 0.0, launched or 0.0)
    return max(0.0, time.time() - begun) if begun else 0.0


def empty_sentence(view: RunView) -> str:
    """What stands in a chart without a point."""
    if view.status in ("damaged", "missing"):
        return view.trouble
    if view.active and not view.steps_logged:
        return "the first step draws the first point; until then the trainer reads data and compiles (10 to 30 s)"
    if not view.complete:
        return "reading the run ..."
    if view.steps_logged:
        return "no step of this run gave a number for this"
    return "this run ended before its first step; what it said is in the log (g)"


def alert_lines(view: RunView) -> Content:
    """One line for each alert; a mark and a word say how bad it is."""
    lines = [
        Content.assemble(
            (f"! {alert.kind}  ", "bold $error" if alert.urgent else "bold $warning"), printable(alert.text)
        )
        for alert in view.alerts
        if alert.kind != "gone"  # the sentence tells it, with what to do
    ]
    return Content("\n").join(lines)


def train_hint(view: RunView) -> str:
    """What the line for a prompt says when it is empty."""
    if view.about.get("method") in ("sft", "dpo"):
        return "Tell me a story."
    return "Once upon a time"
