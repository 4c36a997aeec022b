"""What the Monitor's charts can show: each number of a run with its curves, and those of other runs beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

from tui.following.run_view import RunView
from tui.following.series import SeriesView
from tui.widgets.traces import Trace

LETTERS = "abdeghijkn"
"""For other runs; c, m and r are the rewards' own."""


@dataclass(frozen=True)
class Metric:
    """One thing to draw."""

    title: str
    key: str
    """Of `train` events, or for `rewards` of several."""
    val: bool = False
    """With validations as points."""
    band: bool = False


METRICS: tuple[Metric, ...] = (
    Metric("loss", "loss", val=True, band=True),
    Metric("rewards", "rewards"),
    Metric("accuracy of rewards", "rewards/accuracies", val=True, band=True),
    Metric("bits per byte", "bits_per_byte", val=True),
    Metric("learning rate", "learning_rate"),
    Metric("gradient norm", "grad_norm", band=True),
    Metric("tokens a second", "tok_per_sec", band=True),
    Metric("memory in bytes", "footprint"),
)
_REWARDS = (("chosen", "c", 3), ("rejected", "r", 5), ("margins", "m", 0))


def metrics_of(view: RunView) -> list[Metric]:
    """Those that the run has numbers for; the loss always."""
    return [metric for metric in METRICS if metric.key == "loss" or _has(view, metric)]


def _has(view: RunView, metric: Metric) -> bool:
    if metric.key == "rewards":
        return "rewards/margins" in view.train
    return metric.key in view.train or (metric.val and metric.key in view.val)


def traces_of(metric: Metric, view: RunView, others: Mapping[str, RunView], baseline: str | None = None) -> list[Trace]:
    """The curves of a metric.

    Args:
        metric: what to draw.
        view: the run, drawn on top.
        others: letter -> run that lies beside it.
        baseline: the address of the run that is dashed.
    """
    method = view.about.get("method")
    if metric.key == "rewards":
        found = [
            Trace(name, view.train.get(f"rewards/{name}"), letter=letter, colour=colour)
            for name, letter, colour in _REWARDS
        ]
        return found if not others else [found[-1], *_others("rewards/margins", False, others, baseline, method)]
    line, points = _line_and_points(view, metric.key, metric.val)
    own = Trace(view.name, line, points, band=metric.band and line is not None)
    return [own, *_others(metric.key, metric.val, others, baseline, method)]


def _others(
    key: str, val: bool, others: Mapping[str, RunView], baseline: str | None, own_method: object
) -> list[Trace]:
    """The curves of other runs; where one learns by another method, its loss is of another kind, and its name says so."""
    found = []
    for number, (letter, view) in enumerate(others.items(), 1):
        line, points = _line_and_points(view, key, val)
        dashed = view.address == baseline
        method = str(view.about.get("method") or "")
        name = view.name if method in ("", own_method) else f"{view.name} ({method})"
        found.append(Trace(name, line, points, letter=letter, dashed=dashed, colour=1 + (number - 1) % 5))
    return found


def _line_and_points(view: RunView, key: str, val: bool) -> tuple[SeriesView | None, SeriesView | None]:
    """A number's curve and its validations; validations alone are joined."""
    line, points = view.train.get(key), view.val.get(key) if val else None
    return (line if line is not None else points), points


def place_of(view: RunView, step: int, axis: str) -> float | None:
    """Where a step lies on an axis; None where nothing is known of it."""
    loss = view.train.get("loss")
    if axis == "step":
        return float(step)
    at = loss.nearest("step", step) if loss is not None else None
    return None if loss is None or at is None else float(loss.steps[axis][at])  # type: ignore[index]  # one of the axes
