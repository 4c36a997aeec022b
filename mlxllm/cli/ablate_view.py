"""What an ablation looks like in a terminal: its progress, its table, and what to keep in mind about it."""

import sys
import time
from typing import Any

from mlxllm.ablation.record import Ablation, Outcome
from mlxllm.ablation.results import Results, VariantResult
from mlxllm.ablation.running import Doing
from mlxllm.cli.live_line import LiveLine
from mlxllm.cli.run_view import duration
from mlxllm.cli.sampling import say
from mlxllm.cli.table import print_table
from mlxllm.visible import counted, in_a_line

_SHORT = {"bits per byte": "bits/byte", "nats per token": "nats/token"}
_EXPENDABLE = ("changes", "at equal time", "parameters", "s/step")
_EVERY_SECONDS = 30.0
"""Without a terminal, a line about progress comes this often."""


class AblationView:
    """Tells which run is trained, and how each came out; on stderr, as all narration."""

    def __init__(self) -> None:
        self._line = LiveLine()
        self._begun = time.monotonic()
        self._said = 0.0
        self._trained = 0
        self._first: int | None = None

    def __call__(self, doing: Doing) -> None:
        """Show how far a run is, or that it has ended."""
        if self._first is None:
            self._first = doing.number
        what = f"{doing.number} of {doing.count}  {doing.variant}, seed {doing.seed}"
        if doing.outcome is not None:
            self._line.clear()
            say(f"{what}: {_came_out(doing.outcome)}{self._left(doing)}")
            self._said = time.monotonic()
            return
        text = f"{what}: step {doing.step:,}/{doing.max_steps:,}"
        if sys.stderr.isatty():
            self._line.show(text)
        elif time.monotonic() - self._said > _EVERY_SECONDS:
            self._said = time.monotonic()
            say(text)

    def clear(self) -> None:
        """Take the live line away."""
        self._line.clear()

    def _left(self, doing: Doing) -> str:
        assert self._first is not None
        self._trained += 1
        left = (time.monotonic() - self._begun) / self._trained * (doing.count - doing.number)
        return f"; about {duration(left)} left" if left >= 1 else ""


def _came_out(outcome: Outcome) -> str:
    if outcome.status == "diverged":
        return "diverged"
    last = outcome.validations[-1]
    bits = f", {last.bits_per_byte:.4f} bits per byte" if last.bits_per_byte is not None else ""
    return f"validation loss {last.loss:.4f}{bits}"


def show(name: str, ablation: Ablation, found: Results) -> None:
    """Print the table and its notes."""
    unit = _SHORT[found.unit]
    header = (
        "variant",
        "parameters",
        unit,
        "difference",
        "95 % interval",
        "verdict",
        "s/step",
        "at equal time",
        "changes",
    )
    rows = [_cells(each, found.base) for each in (found.base, *found.variants)]
    print_table(header, rows, expendable=_EXPENDABLE)
    for note in notes(name, ablation, found):
        say(note)


def _cells(each: VariantResult, base: VariantResult) -> tuple[str, ...]:
    more = 100 * (each.parameters / base.parameters - 1)
    size = f"{each.parameters:,}" + (f" ({more:+.1f} %)" if each.parameters != base.parameters else "")
    return (
        each.name,
        size,
        _number(each.mean, ".4f"),
        _number(each.difference, "+.4f"),
        f"{each.interval[0]:+.4f} to {each.interval[1]:+.4f}" if each.interval is not None else "-",
        each.verdict or "-",
        _number(each.seconds_per_step, ".3g"),
        _number(each.equal_time, ".4f"),
        in_a_line(", ".join(each.changes)) or "-",
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def notes(name: str, ablation: Ablation, found: Results) -> list[str]:
    """What the numbers are, and what to keep in mind about them; each a sentence or two."""
    tokens = counted(ablation.steps * ablation.tokens_per_step, "token")
    asked = f", what the base makes in {ablation.minutes:g} minutes" if ablation.minutes is not None else ""
    seeds = ", ".join(map(str, ablation.seeds))
    each_run = f"{counted(ablation.steps, 'step')} ({tokens}){asked}"
    told = [
        f"ablation {name}: preset {ablation.preset} on {in_a_line(ablation.dataset)}; each run has {each_run}; seeds "
        f"{seeds}; the loss is that of the last validation, and less is better",
    ]
    if len(ablation.seeds) > 1:
        told.append(
            "difference: the mean over seeds of a variant's loss less the base's with the same seed and order of data, with "
            "Student's interval of 95 %: of twenty changes that buy nothing, one is expected to look as if it did"
        )
    else:
        told.append("one seed gives no interval, and differences of this size may be luck: --seeds 3 trains two more")
    if found.equal_seconds is not None:
        told.append(
            f"at equal time: the loss after {duration(found.equal_seconds)} of training, when the quickest was done, read "
            f"off the curves; the learning rate of the slower ones had not fallen as far by then"
        )
    if any(each.parameters != found.base.parameters for each in found.variants):
        told.append("some changes alter the number of weights, as the table says, and more weights alone may help")
    told += [each.note for each in found.variants if each.note]
    if ablation.skipped:
        told.append(f"left out, since this base is so already: {', '.join(ablation.skipped)}")
    if not ablation.is_finished:
        done, count = len(ablation.outcomes), len(ablation.seeds) * len(ablation.variants)
        told.append(f"{done} of {count} runs have ended; `mlxllm ablate --name {name}` trains the others")
    return told


def as_json(name: str, ablation: Ablation, found: Results) -> dict[str, Any]:
    """The table for programs."""
    told = found.as_dict()
    return {
        "name": name,
        "finished": ablation.is_finished,
        **ablation.model_dump(mode="json", exclude={"variants", "outcomes"}),
        **told,
        "notes": notes(name, ablation, found),
    }
