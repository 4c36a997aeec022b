"""The picture of an ablation: the validation curves of all variants over each other, and how far each ended from the base."""

from mlxllm.ablation.results import Results, VariantResult
from mlxllm.report.colours import LINES, colour, line_colour
from mlxllm.report.drawing import Plot, figure, label, name_ends

_FEWEST_POINTS = 4
"""A curve of fewer is drawn whole; of others the first point, of fresh weights, would leave the rest no height."""

_STROKES = ("-", "--", ":")


def ablation_plot(found: Results, name: str) -> Plot | None:
    """Mean and range over seeds of each variant's validation; below, the differences with their 95 % intervals.

    None where no run has ended yet.
    """
    drawn = [each for each in (found.base, *found.variants) if each.curve.steps]
    if not drawn:
        return None
    compared = [(each, each.difference) for each in found.variants if each.difference is not None]
    rows = 2 if compared else 1
    with figure(rows=rows, height=rows * max(2.6, 0.2 * (len(drawn) + 2))) as (made, axes):
        ends = []
        tints = {each.name: _tint(found, each) for each in drawn}
        for each in reversed(drawn):  # the base lies on top
            skip = 1 if len(each.curve.steps) >= _FEWEST_POINTS else 0
            steps, mean = each.curve.steps[skip:], each.curve.mean[skip:]
            tint = tints[each.name]
            axes[0].fill_between(
                steps, each.curve.low[skip:], each.curve.high[skip:], color=tint, alpha=0.15, linewidth=0
            )
            axes[0].plot(
                steps, mean, color=tint, linestyle=_stroke(found, each), marker="o", markersize=2.5, linewidth=1.3
            )
            ends.append((mean[-1], each.name, tint))
        axes[0].set_ylabel(f"{found.unit}, validation")
        axes[0].set_xlabel("step")
        axes[0].xaxis.set_major_formatter("{x:,.0f}")
        axes[0].margins(x=0.01)
        name_ends(axes[0], ends)
        if compared:
            for row, (each, difference) in enumerate(compared):
                low, high = each.interval or (difference, difference)
                axes[1].plot([low, high], [row, row], color=tints[each.name], linewidth=1.6, alpha=0.6)
                axes[1].plot([difference], [row], color=tints[each.name], marker="o", markersize=5)
            axes[1].axvline(0, color=colour("ink"), linewidth=0.9)
            axes[1].set_yticks(range(len(compared)), [label(each.name) for each, _ in compared])
            axes[1].set_ylim(len(compared) - 0.4, -0.6)
            axes[1].grid(axis="x")
            axes[1].grid(visible=False, axis="y")
            axes[1].set_xlabel(f"{found.unit} more than the base, with its 95 % interval over seeds")
        return Plot(
            "ablation", f"The variants of ablation {name} over each other, and their differences to the base", made
        )


def _stroke(found: Results, each: VariantResult) -> str:
    """Where the colours come again, lines are broken in other ways."""
    again = 0 if each.name == found.base.name else found.variants.index(each) // len(LINES)
    return _STROKES[again % len(_STROKES)]


def _tint(found: Results, each: VariantResult) -> str:
    return colour("ink") if each.name == found.base.name else line_colour(found.variants.index(each))
