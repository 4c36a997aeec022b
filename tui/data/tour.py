"""What the tour shows: how far the reader is, what the experiments are run on, and a first model as it comes to be."""

import re
import textwrap
from dataclasses import dataclass

from mlxllm import paths
from mlxllm.learn.contents import CHAPTERS, chapter
from mlxllm.learn.progress import Progress, read_progress
from mlxllm.learn.subjects import Subjects, find_subjects
from mlxllm.learn.trying import Trial, trial
from mlxllm.runs import ACTIVE, RunDirectory, log_tail
from mlxllm.runs.summary import summarise_anyhow
from tui.words import duration, number

_SHOWN_LINES = 12


@dataclass(frozen=True)
class Tour:
    """Everything that the chapters depend on."""

    progress: Progress
    subjects: Subjects

    def trial(self, number: int) -> Trial:
        """The experiment of a chapter, with what there is."""
        return trial(chapter(number), self.subjects)

    @property
    def first(self) -> int:
        """The chapter to open: the one that was open last if it is not done, else the next."""
        last = self.progress.last
        return last if last and not self.progress.is_done(last) else self.progress.next


def take_tour() -> Tour:
    """Look at progress, runs and tokenizers; takes milliseconds for tens of runs, so call it off the event loop."""
    return Tour(read_progress(), find_subjects())


def mark_of(progress: Progress, number: int, ascii_only: bool) -> str:
    """A sign for how far the reader is with a chapter."""
    if progress.is_done(number):
        return "v" if ascii_only else "✓"
    begun = progress.of(number)
    return ("." if ascii_only else "·") if begun else " "


def how_far(progress: Progress) -> str:
    """In a line."""
    return f"{progress.done} of {len(CHAPTERS)} done"


def folded(line: str, width: int) -> str:
    """A line of a command for a pane of so many columns: sentences are folded between words, tables stay as they are.

    Cells of a table have gaps between them; a line with gaps that is far too long is a name with a text behind it, which
    goes on below that text.
    """
    begin = re.match(r"\s*(?:\S+(?: \S+)*\s{2,})?", line)
    head = begin[0] if begin is not None else ""
    is_table = "  " in line.strip()
    if len(line) <= width or (is_table and len(line) <= 2 * width) or len(head) > width // 2:
        return line
    below = " " * len(head)
    return "\n".join(textwrap.wrap(line[len(head) :], width, initial_indent=head, subsequent_indent=below)) or line


@dataclass(frozen=True)
class Birth:
    """A run that makes a first model, as far as it is."""

    lines: tuple[str, ...]
    """What its trainer said, and where it stands."""
    active: bool
    finished: bool


def birth(run: str) -> Birth:
    """How far a run is that was started as a process of its own."""
    directory = RunDirectory(paths.folder("runs") / run)
    summary = summarise_anyhow(directory)
    said = [line.rstrip() for line in log_tail(directory).replace("\r", "\n").splitlines()]
    lines = [line for line in said if line][-_SHOWN_LINES:]
    if summary.status in ACTIVE:
        lines.append(_stands(summary.step, summary.max_steps, summary.train_loss, summary.eta_seconds))
    elif summary.status != "finished":
        lines.append(f"{run}: {summary.status}; the Monitor (4) says why")
    return Birth(tuple(lines), summary.status in ACTIVE, summary.status == "finished")


def _stands(step: int, max_steps: int | None, loss: float | None, left: float | None) -> str:
    if not step:
        return "it begins: data and kernels are made ready"
    of = f" of {max_steps:,}" if max_steps else ""
    told = f", loss {number(loss, 3)}" if loss is not None else ""
    return f"step {step:,}{of}{told}" + (f", {duration(left)} left" if left is not None else "")
