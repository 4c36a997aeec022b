"""Scores of several models side by side: the table, and what is drawn of it."""

from collections.abc import Sequence

from mlxllm.report.blocks import Table
from mlxllm.report.plots import Scored
from mlxllm.report.scored import Found, is_share, metrics_of, told
from mlxllm.scores import Result
from mlxllm.visible import in_a_line

Scores = Sequence[tuple[str, Sequence[Found]]]
"""Name of a stage or a run -> its results."""


def newest(found: Sequence[Found]) -> dict[tuple[str, str], Result]:
    """(task, how it was asked) -> the newest result; the same task under other settings is another one."""
    return {(each.result.task, _how(each.result)): each.result for each in found}


def scores_table(scores: Scores) -> Table | None:
    """A row for each metric of each task, a column for each name; None where there are no results."""
    by_name = [(name, newest(found)) for name, found in scores]
    tasks = list(dict.fromkeys(key for _, results in by_name for key in results))
    if not tasks:
        return None
    rows = []
    for key in tasks:
        results = [found.get(key) for _, found in by_name]
        metrics = list(dict.fromkeys(metric for each in results if each for metric in metrics_of(each)))
        for metric in metrics:
            cells = [told(each, metric) if each and metric in each.metrics else "–" for each in results]
            rows.append([f"{key[0]}{key[1]}", metric, _items([each for each in results if each], metric), *cells])
    return Table(["task", "metric", "items", *(name for name, _ in by_name)], rows)


def scored(scores: Scores) -> list[Scored]:
    """The shares among the metrics, for drawing."""
    found = []
    tasks = {each.result.task for _, results in scores for each in results}
    for name, results in scores:
        for (task, how), result in newest(results).items():
            for metric in metrics_of(result):
                value = result.metrics[metric]
                if value is not None and is_share(metric, value):
                    found.append(
                        Scored(
                            name,
                            metric if len(tasks) == 1 else f"{task}{how}: {metric}",
                            value,
                            result.error_of(metric),
                        )
                    )
    return found


def _items(results: Sequence[Result], metric: str) -> str:
    """How many items a metric is about: an examination of several parts says it of each part that it counts."""
    counts = []
    for result in results:
        parts = result.settings.get("items")
        counts.append(parts.get(metric) if isinstance(parts, dict) else result.samples)
    return f"{max(found):,}" if (found := [n for n in counts if isinstance(n, int)]) else "–"


def _how(result: Result) -> str:
    """What tells apart two results of one task."""
    shots, limit = result.settings.get("shots"), result.settings.get("limit")
    judge = result.settings.get("judge")
    by = f"by {in_a_line(judge, 24)}" if isinstance(judge, str) and judge else ""
    said = [f"{shots} examples" if shots else "", f"first {limit}" if limit else "", by]
    return f" ({', '.join(filter(None, said))})" if any(said) else ""
