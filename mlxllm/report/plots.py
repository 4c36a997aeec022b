"""The plots of a report: one function a plot, from curves and scores to a drawing; None where there is nothing to draw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlxllm.report.colours import colour, line_colour
from mlxllm.report.curves import COLUMNS, Curves, Envelope, Series, envelope, smoothed
from mlxllm.report.drawing import Plot, figure, label, name_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE_RANGE = 4.0
"""A loss that falls by more than this factor is drawn in logarithms: its end would be a flat line otherwise."""
_TICKS = (1, 1.5, 2, 3, 4, 5, 7)
_MOST_LINES = 8
_NORMAL_95 = 1.96
REWARDS = {"rewards/chosen": "chosen", "rewards/rejected": "rejected", "rewards/margins": "margin"}


@dataclass(frozen=True)
class Scored:
    """One number with its standard error, as a share between 0 and 1."""

    stage: str
    metric: str
    value: float
    stderr: float | None


def loss_plot(runs: Sequence[tuple[str, Curves]], name: str, caption: str, unit: str) -> Plot | None:
    """Training and validation loss of one run, or of several, one over the other.

    Of training the smoothed line, over the band in which the losses of single steps lie; of validation the marks.
    """
    drawn = [(run, curves, _usable(curves.train.get("loss")), _usable(curves.val.get("loss"))) for run, curves in runs]
    drawn = [each for each in drawn if each[2] is not None or each[3] is not None]
    if not drawn:
        return None
    with figure(height=3.1) as (made, (axes, *_)):
        ends = []
        for n, (run, _, train, val) in enumerate(drawn):
            tint = line_colour(n)
            if train is not None:
                line = smoothed(train.mean)
                if train.is_thinned:
                    axes.fill_between(train.steps, train.low, train.high, color=tint, alpha=0.2, linewidth=0)
                else:
                    axes.plot(train.steps, train.mean, color=tint, alpha=0.28, linewidth=0.7)
                axes.plot(train.steps, line, color=tint, marker=_mark(train))
                ends.append((float(line[-1]), "training" if len(drawn) == 1 else run, tint))
            if val is not None:
                alone = len(drawn) == 1
                tint = line_colour(1) if alone else tint
                axes.plot(val.steps, val.mean, color=tint, marker="o", markersize=4.5, linewidth=1.1, linestyle="--")
                if alone or train is None:
                    ends.append((float(val.mean[-1]), "validation" if alone else run, tint))
        _scale_of_loss(axes, [each for _, _, *both in drawn for each in both if each is not None])
        axes.set_ylabel(f"loss ({unit})")
        _step_axis(axes)
        name_ends(axes, ends)
        return Plot(name, caption, made)


def sources_plot(sources: dict[str, Series], name: str, caption: str) -> Plot | None:
    """Bits per byte of each source over the steps."""
    drawn = [(source, each) for source, series in sources.items() if (each := _usable(series)) is not None]
    if not drawn:
        return None
    drawn = sorted(drawn, key=lambda item: -float(item[1].mean[-1]))[:_MOST_LINES]
    with figure(height=2.8) as (made, (axes, *_)):
        for n, (_, line) in enumerate(drawn):
            axes.plot(line.steps, line.mean, color=line_colour(n), marker="o", markersize=3.5)
        axes.set_ylabel("bits per byte, validation")
        _step_axis(axes)
        name_ends(axes, [(float(line.mean[-1]), source, line_colour(n)) for n, (source, line) in enumerate(drawn)])
        return Plot(name, caption, made)


def rewards_plot(curves: Curves, name: str, caption: str) -> Plot | None:
    """With preferences: what the two answers gained, how far they are apart, and how often the better one is ahead."""
    lines = [(told, each) for key, told in REWARDS.items() if (each := _usable(curves.train.get(key))) is not None]
    if not lines:
        return None
    share = _usable(curves.train.get("rewards/accuracies"))
    held_out = _usable(curves.val.get("rewards/accuracies"))
    with figure(rows=2 if share is not None else 1, height=4.4 if share is not None else 2.8) as (made, axes):
        for n, (_, line) in enumerate(lines):
            axes[0].plot(line.steps, line.mean, color=line_colour(n), alpha=0.25, linewidth=0.7)
            axes[0].plot(line.steps, smoothed(line.mean), color=line_colour(n), marker=_mark(line))
        axes[0].set_ylabel("reward (nats)")
        name_ends(axes[0], [(float(smoothed(e.mean)[-1]), told, line_colour(n)) for n, (told, e) in enumerate(lines)])
        if share is not None:
            tint = line_colour(0)
            axes[1].plot(share.steps, 100 * share.mean, color=tint, alpha=0.25, linewidth=0.7)
            axes[1].plot(share.steps, 100 * smoothed(share.mean), color=tint, marker=_mark(share))
            ends = [(100 * float(smoothed(share.mean)[-1]), "training", tint)]
            if held_out is not None:
                axes[1].plot(held_out.steps, 100 * held_out.mean, color=line_colour(1), marker="o", markersize=4.5)
                ends.append((100 * float(held_out.mean[-1]), "validation", line_colour(1)))
            axes[1].set_ylim(0, 102)
            axes[1].axhline(50, color=colour("faint"), linewidth=0.8, linestyle=":")
            axes[1].set_ylabel("better one ahead (%)")
            name_ends(axes[1], ends)
        _step_axis(axes[1] if share is not None else axes[0])
        return Plot(name, caption, made)


def machine_plot(curves: Curves, name: str, caption: str) -> Plot | None:
    """Speed, memory, learning rate and length of the gradient over the steps: four small plots."""
    wanted = (
        ("tok_per_sec", "tokens a second", 1.0),
        ("footprint", "memory of the process (GiB)", 2.0**-30),
        ("learning_rate", "learning rate", 1.0),
        ("grad_norm", "norm of the gradient", 1.0),
    )
    drawn = [
        (title, scale, each)
        for key, title, scale in wanted
        if (each := _usable(curves.train.get(key), 160)) is not None
    ]
    if not drawn:
        return None
    rows = (len(drawn) + 1) // 2
    with figure(rows=rows, columns=2 if len(drawn) > 1 else 1, height=1.9 * rows) as (made, axes):
        for axis, (title, scale, line) in zip(axes, drawn, strict=False):
            low, high = scale * line.low, scale * line.high
            if line.is_thinned:
                axis.fill_between(line.steps, low, high, color=line_colour(0), alpha=0.16, linewidth=0)
            axis.plot(line.steps, scale * line.mean, color=line_colour(0), linewidth=1.1, marker=_mark(line))
            axis.set_ylim(0, 1.08 * float(high.max()) or 1.0)
            axis.set_title(title)
            _step_axis(axis, with_label=False)
        for axis in axes[len(drawn) :]:
            axis.set_visible(False)
        for axis in axes[max(0, len(drawn) - 2) : len(drawn)]:
            axis.set_xlabel("step")
        return Plot(name, caption, made)


def scores_plot(scores: Sequence[Scored], name: str, caption: str) -> Plot | None:
    """Scores of several stages or runs, in per cent, with bars of 95 %: a row for each metric, a dot for each stage."""
    metrics = list(dict.fromkeys(score.metric for score in scores))
    stages = list(dict.fromkeys(score.stage for score in scores))
    if not metrics:
        return None
    with figure(height=0.8 + (0.16 * len(stages) + 0.22) * len(metrics)) as (made, (axes, *_)):
        for row, metric in enumerate(metrics):
            for score in (each for each in scores if each.metric == metric):
                n = stages.index(score.stage)
                y = row + (n - (len(stages) - 1) / 2) * 0.7 / max(len(stages), 2)
                tint, bar = line_colour(n), _NORMAL_95 * (score.stderr or 0.0)
                low, high = max(0.0, score.value - bar), min(1.0, score.value + bar)
                if bar:
                    axes.plot([100 * low, 100 * high], [y, y], color=tint, linewidth=1.4, alpha=0.55)
                axes.plot([100 * score.value], [y], color=tint, marker="o", markersize=5.5, linestyle="none")
        axes.set_yticks(range(len(metrics)), [label(metric) for metric in metrics])
        axes.set_ylim(len(metrics) - 0.45, -0.55)
        axes.set_xlim(0, 100)
        axes.tick_params(axis="y", labelcolor=colour("ink"))
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("%, with the interval that holds 95 %")
        for n, stage in enumerate(stages):
            axes.plot([], [], color=line_colour(n), marker="o", linestyle="none", markersize=5.5, label=label(stage))
        if len(stages) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(len(stages), 4), handletextpad=0.2)
        return Plot(name, caption, made)


def _mark(line: Envelope) -> str:
    """A line of one point is a point."""
    return "o" if len(line.steps) == 1 else ""


def _usable(series: Series | None, columns: int = COLUMNS) -> Envelope | None:
    """A curve as it is drawn; None where no value of it is a number."""
    found = envelope(series, columns) if series is not None else None
    return found if found is not None and len(found.steps) else None


def _scale_of_loss(axes: "Axes", curves: Sequence[Envelope]) -> None:
    low = min(float(each.mean.min()) for each in curves)
    high = max(float(each.mean.max()) for each in curves)
    if low > 0 and high / low > _WIDE_RANGE:
        axes.set_yscale("log")
        decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**decade for decade in decades for digit in _TICKS]
        axes.set_yticks([tick for tick in ticks if 0.9 * low < tick < 1.1 * high])
        axes.set_yticks([], minor=True)
        axes.yaxis.set_major_formatter("{x:g}")


def _step_axis(axes: "Axes", *, with_label: bool = True) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if axes.get_xlim()[1] >= 100_000:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(x=0.01)
    if with_label:
        axes.set_xlabel("step")
