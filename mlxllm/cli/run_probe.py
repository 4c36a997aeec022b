"""`mlxllm runs probe`: a held-out passage through training, each token by how well it is predicted."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import typer

from mlxllm.cli.sampling import say, use_colour
from mlxllm.cli.table import print_fields
from mlxllm.cli.terminal import columns
from mlxllm.cli.token_view import RESET, display_width
from mlxllm.errors import ConfigError
from mlxllm.runs import Probe, RunDirectory, find_run, read_probe
from mlxllm.runs.probes import CLASSES, HALF, Loss, PieceStory, class_of, learnt_first, never_learnt
from mlxllm.visible import readable, visible

_GROUNDS = ("22", "64", "136", "130", "88")
"""256-colour grounds from green to red, as dark as white letters need them; one of `CLASSES` each."""
_MARKS = (("", ""), ("", ""), ("(", ")"), ("[", "]"), ("{", "}"))
"""What stands around tokens of a class where there are no colours."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_STEPS = 60
_MOST_PIECES = 12
_LINES = 6


def probe(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")],
    step: Annotated[
        int | None, typer.Option("--step", metavar="N", help="The validation at step N or before; by default the last.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="NATS",
            help="A token is learnt from where its loss stays below this.",
            show_default=f"{HALF:.3f}, half of the probability",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE", help="Draw it as well: FILE.png or FILE.svg, FILE.gif for all steps."
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Show a held-out passage, token by token, as the model predicted it at a step; what it learnt first, and what never.

    The trainer keeps the loss of each token of the passage at every validation; they are the numbers that enter the
    validation loss.
    """
    if step is not None and step < 0:
        raise ConfigError(f"--step is {step}; it should be 0 or more")
    if threshold is not None and not 0 < threshold < math.inf:
        raise ConfigError(f"--threshold is {threshold:g}; it should be a loss in nats above 0, such as 0.7 or 1")
    limit = HALF if threshold is None else threshold
    found = find_run(run)
    known = read_probe(found)
    place = known.place(step)
    files = _draw(found, known, place, picture.expanduser()) if picture is not None else []
    if json_:
        print(json.dumps(_as_json(found, known, place, limit) | {"files": files}))
        return
    _print(found, known, place, limit)
    for file in files:
        say(f"drawn: {file}")


def _as_json(run: RunDirectory, probe: Probe, place: int, limit: float) -> dict[str, object]:
    return {
        "run": run.address,
        "step": probe.steps[place],
        "loss": probe.mean(place),
        "token_ids": probe.token_ids,
        "pieces": probe.pieces,
        "losses": probe.losses[place],
        "steps": probe.steps,
        "losses_by_step": probe.losses,
        "means": [probe.mean(number) for number in range(len(probe.steps))],
        "threshold": limit,
        "learnt": probe.learnt(limit),
        "by_piece": [
            {
                "piece": story.piece,
                "count": story.count,
                "learnt": story.learnt,
                "never": story.count - story.learnt,
                "first": story.first,
                "last": story.last,
                "loss": story.loss,
            }
            for story in probe.by_piece(limit)
        ],
    }


def _print(run: RunDirectory, probe: Probe, place: int, limit: float) -> None:
    colour = use_colour(sys.stdout)
    scored, losses = probe.scored(), probe.losses[place]
    steps = f"{probe.steps[0]:,} to {probe.steps[-1]:,}" if len(probe.steps) > 1 else f"{probe.steps[0]:,}"
    validations = "1 validation" if len(probe.steps) == 1 else f"{len(probe.steps):,} validations"
    at = f"at step {probe.steps[0]:,} {_nats(probe.mean(0))}" if place else "the first"
    rows = [
        ("passage", f"{sum(scored):,} held-out tokens of run {run.address}, {validations}, steps {steps}"),
        ("step", f"{probe.steps[place]:,}: {_nats(probe.mean(place))} nats a token ({at})"),
    ]
    if len(probe.steps) > 1:
        rows.append(("slider", _slider(probe, place)))
    print_fields(rows)
    print(f"classes  {_legend(colour)}")  # by itself: where a line is folded, colours would count as letters
    print()
    for line in passage_lines(probe.pieces, losses, columns(sys.stdout) - 2, colour):
        print(f"  {line}")
    print()
    stories = probe.by_piece(limit)
    learnt = sum(story.learnt for story in stories)
    chance = f"{100 * math.exp(-limit):.3g} %"
    count = sum(scored)
    rows = [
        ("learnt", f"{learnt:,} of {count:,}: from some step on their loss stays below {limit:.3g} nats ({chance})")
    ]
    for number, (step, pieces) in enumerate(learnt_first(stories)[:_LINES]):
        rows.append(("first" if not number else "", f"step {step:,}: {_listed(pieces, '')}"))
    if never := never_learnt(stories):
        rows.append(("never", _listed(never, "never")))
    print_fields(rows)


def passage_lines(pieces: Sequence[str], losses: Sequence[Loss], width: int, colour: bool) -> Iterator[str]:
    """A passage as lines of text: coloured by class, or with brackets around stretches of one class.

    Args:
        pieces: of its tokens.
        losses: theirs; a token without one is dim, or as it is.
        width: columns of a line.
        colour: use colours.
    """
    line: list[tuple[int | None, str]] = []
    used = 0
    for piece, loss in zip(pieces, losses, strict=True):
        class_ = None if loss is None else class_of(loss)
        for number, part in enumerate(readable(piece).split("\n")):
            # Brackets take room as well, but not so much that it would matter where a line is folded.
            if number or (used and used + display_width(part) > width):
                yield _line(line, colour)
                line, used = [], 0
            line.append((class_, part))
            used += display_width(part) + (not colour and len(line) > 1 and line[-2][0] != class_)
    if used:
        yield _line(line, colour)


def _line(parts: Sequence[tuple[int | None, str]], colour: bool) -> str:
    """Stretches of tokens of one class each."""
    drawn = ""
    for class_, group in groupby(parts, key=itemgetter(0)):
        text = "".join(part for _, part in group)
        begin, end = _MARKS[class_] if class_ is not None else ("", "")
        if text:
            drawn += _painted(text, class_) if colour else f"{begin}{text}{end}"
    return drawn


def _painted(text: str, class_: int | None) -> str:
    style = "2" if class_ is None else f"38;5;231;48;5;{_GROUNDS[class_]}"
    return f"\x1b[{style}m{text}{RESET}"


def _legend(colour: bool) -> str:
    parts = []
    for number, told in enumerate(CLASSES):
        begin, end = _MARKS[number]
        parts.append(_painted(f" {told} ", number) if colour else f"{begin}{told}{end}")
    return " ".join(parts) + " likely" if colour else f"{', '.join(parts[1:])} likely; unmarked from 50 % on"


def _slider(probe: Probe, place: int) -> str:
    """The mean of the passage at each validation, as a curve of blocks; the shown one stands in brackets."""
    count = len(probe.steps)
    places = sorted({round(n * (count - 1) / (_MOST_STEPS - 1)) for n in range(_MOST_STEPS)} | {place})
    means = {number: probe.mean(number) for number in places}
    known = [mean for mean in means.values() if mean is not None]
    top, bottom = max(known, default=1.0), min(known, default=0.0)
    drawn = ""
    for number, mean in means.items():
        share = 0.0 if mean is None or top == bottom else (mean - bottom) / (top - bottom)
        block = "?" if mean is None else _BLOCKS[round(share * (len(_BLOCKS) - 1))]
        drawn += f"[{block}]" if number == place else block
    return f"{_nats(probe.mean(0))} {drawn} {_nats(probe.mean(count - 1))}"


def _listed(stories: Sequence[PieceStory], which: str) -> str:
    """Pieces with how many of them there are, of very many the first."""
    parts = []
    for story in stories[:_MOST_PIECES]:
        number = story.count - story.learnt if which == "never" else story.learnt
        of = f" {number} of {story.count}" if story.count > 1 else ""
        parts.append(f"{visible(story.piece)}{of}")
    more = len(stories) - _MOST_PIECES
    return "  ".join(parts) + (f"  and {more:,} more" if more > 0 else "")


def _nats(loss: Loss) -> str:
    return "no number" if loss is None else f"{loss:.4f}"


def _draw(run: RunDirectory, probe: Probe, place: int, file: Path) -> list[str]:
    from mlxllm.report.passage_picture import write_passage

    return [str(write_passage(file, probe, place, run.name))]
