"""The ablations that are kept, as the screen shows them: how far each is, and the line of each of its variants."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlxllm import paths
from mlxllm.ablation import Ablation, Results, VariantResult, all_names, read_ablation, results
from mlxllm.ablation.record import FILE, run_name
from mlxllm.errors import UserError
from mlxllm.runs import ACTIVE, RunDirectory, effective_status
from tui.words import printable

BAR_WIDTH = 25
"""Cells in which a difference and its interval are drawn."""
_SIGNS = {"ends": ("├", "┤"), "line": "─", "dot": "●", "zero": "│"}
_ASCII = {"ends": ("[", "]"), "line": "-", "dot": "o", "zero": "|"}


@dataclass(frozen=True)
class Entry:
    """One ablation; without the two where its file is damaged."""

    name: str
    ablation: Ablation | None
    results: Results | None
    problem: str = ""
    training: str = ""
    """The run that is being trained now."""

    @property
    def lines(self) -> tuple[VariantResult, ...]:
        """The base and the variants."""
        return (self.results.base, *self.results.variants) if self.results is not None else ()

    def cells(self) -> list[str]:
        """Name, runs that have ended, preset, data, and what goes on."""
        if self.ablation is None:
            return [self.name, "-", "-", "-", self.problem]
        count = len(self.ablation.seeds) * len(self.ablation.variants)
        state = (
            "finished"
            if self.ablation.is_finished
            else f"training {self.training}"
            if self.training
            else "not finished"
        )
        runs = f"{len(self.ablation.outcomes)}/{count}"
        return [self.name, runs, self.ablation.preset, printable(self.ablation.dataset.rpartition("/")[2]), state]

    def side_by_side(self, variant: str = "") -> list[str]:
        """The runs whose curves belong together: of each variant the first that is there; of one, all beside the base's."""
        if variant and variant != self.lines[0].name:
            return [run for each in self.lines if each.name in (self.lines[0].name, variant) for run in each.runs]
        return [each.runs[0] for each in self.lines if each.runs]


def read_entries() -> list[Entry]:
    """All ablations, the last written first."""
    folder = paths.folder("ablations")
    found = []
    for name in all_names():
        try:
            found.append(((folder / name / FILE).stat().st_mtime, _entry(name)))
        except OSError:  # removed in this moment
            continue
    return [entry for _, entry in sorted(found, key=lambda each: (-each[0], each[1].name))]


def _entry(name: str) -> Entry:
    try:
        ablation = read_ablation(name)
        return Entry(name, ablation, results(ablation), training=_training(name, ablation))
    except UserError as error:
        return Entry(name, None, None, problem=str(error))


def _training(name: str, ablation: Ablation) -> str:
    """The run of an ablation whose trainer lives."""
    for seed in ablation.seeds:
        for variant in ablation.variants:
            if ablation.outcome(variant.name, seed) is not None:
                continue
            run = RunDirectory(paths.folder("runs") / run_name(name, variant.name, seed))
            if run.is_run and effective_status(run) in ACTIVE:
                return run.name
    return ""


def variant_cells(entry: Entry, name: str, ascii_only: bool) -> list[str]:
    """The line of a variant: name, loss, difference and interval as a drawing and a figure, verdict, weights, speed."""
    line = next(each for each in entry.lines if each.name == name)
    base = entry.lines[0]
    more = f"{100 * (line.parameters / base.parameters - 1):+.1f} %" if line.parameters != base.parameters else ""
    return [
        line.name,
        "-" if line.mean is None else f"{line.mean:.4f}",
        interval_bar(line, entry.lines, ascii_only),
        "-" if line.difference is None else f"{line.difference:+.4f}",
        line.verdict or "-",
        more or "=",
        "-" if line.seconds_per_step is None else f"{line.seconds_per_step:.3g}",
        "-" if line.equal_time is None else f"{line.equal_time:.4f}",
    ]


def interval_bar(line: VariantResult, lines: Sequence[VariantResult], ascii_only: bool) -> str:
    """A difference to the base as a dot on its interval, on one scale for all lines with 0 in the middle."""
    if line.difference is None:
        return ""
    signs = _ASCII if ascii_only else _SIGNS
    farthest = max(
        (abs(end) for each in lines if each.difference is not None for end in (each.interval or (each.difference,))),
        default=0.0,
    )
    middle = BAR_WIDTH // 2
    scale = middle / farthest if farthest else 0.0

    def place(value: float) -> int:
        return middle + round(value * scale)

    cells = [" "] * BAR_WIDTH
    cells[middle] = str(signs["zero"])
    if line.interval is not None:
        low, high = map(place, line.interval)
        for at in range(low, high + 1):
            cells[at] = str(signs["line"])
        cells[low], cells[high] = signs["ends"]
    cells[place(line.difference)] = str(signs["dot"])
    return "".join(cells)


def about(entry: Entry) -> str:
    """What the lines of an ablation are about, in a sentence or two."""
    ablation, found = entry.ablation, entry.results
    if ablation is None or found is None:
        return entry.problem
    seeds = f"{len(ablation.seeds)} seeds" if len(ablation.seeds) > 1 else "one seed, which gives no interval"
    return (
        f"{ablation.steps:,} steps each, {seeds}; {found.unit} of the last validation, and how far from the base with the "
        f"same seeds: left of the line is better. An interval across the line says nothing."
    )


def changes(entry: Entry, name: str) -> str:
    """What a variant changes, as it was typed."""
    line = next((each for each in entry.lines if each.name == name), None)
    return printable(", ".join(line.changes)) if line is not None else ""
