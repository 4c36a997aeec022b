"""What the tasks of a folder make together, as MMLU's subjects do."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from mlxllm.evaluation.tasks import metrics
from mlxllm.evaluation.tasks.running import Outcome
from mlxllm.scores import STDERR


def together(name: str, outcomes: Sequence[Outcome]) -> Outcome:
    """The figures over all questions of several tasks, and the mean over tasks as `acc_subjects`.

    Args:
        name: of the group.
        outcomes: of its tasks, at least one.
    """
    samples = [sample for outcome in outcomes for sample in outcome.samples]
    figures = metrics.means([sample["metrics"] for sample in samples])
    of_tasks = [fmean([sample["metrics"]["acc"] for sample in outcome.samples]) for outcome in outcomes]
    figures["acc_subjects"] = fmean(of_tasks)
    # Each subject's error is known, so that of their mean needs no guess about how subjects differ.
    errors = [outcome.metrics["acc" + STDERR] for outcome in outcomes]
    known = [error for error in errors if error is not None]
    if len(known) == len(errors):
        figures["acc_subjects" + STDERR] = sum(error**2 for error in known) ** 0.5 / len(known)
    first = outcomes[0]
    items = tuple(item for outcome in outcomes for item in outcome.task.items)
    files = hashlib.sha256("".join(outcome.task.sha256 for outcome in outcomes).encode()).hexdigest()
    task = replace(first.task, name=name, items=items, sha256=files, group=None)
    decides = {**first.decides, "file": files}
    return Outcome(
        task,
        figures,
        [],
        first.shots,
        sum(each.reused for each in outcomes),
        decides,
        len(samples),
        sum(each.cut for each in outcomes),
    )
