"""Tasks of lm-eval, public ones by name and local ones by file, run with a model of ours."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlxllm.conversation.choosing import chat_format_of
from mlxllm.evaluation.harness.apart import Progress, apart, blamed_on, outside, silent
from mlxllm.evaluation.harness.files import Definition
from mlxllm.evaluation.harness.loading import choose, load_tasks
from mlxllm.evaluation.harness.names import lm_eval_version, need_lm_eval
from mlxllm.evaluation.item_cache import cache_of
from mlxllm.model.loading import LoadedModel
from mlxllm.scores import STDERR

_BOOTSTRAPS = 1000
"""Draws for the standard error of what is no mean; lm-eval's own 100,000 need several processes."""


@dataclass(frozen=True)
class TaskScores:
    """What lm-eval found for a task or a group."""

    metrics: dict[str, float | None]
    """Metric -> value; of filters other than `none` as `exact_match/strict-match`."""
    samples: int
    """Questions that were scored."""
    settings: dict[str, Any]
    """What decides the numbers."""
    items: list[dict[str, Any]] = field(default_factory=list)
    """Each question as lm-eval logs it (`doc`, `arguments`, `filtered_resps`, metrics); empty for a group."""


@dataclass(frozen=True)
class Settings:
    """What lm-eval is asked for."""

    limit: int | None = None
    """Only the first so many questions of each task."""
    shots: int | None = None
    """Examples before a question; None is what the task says, and a task that says none at all keeps to it."""
    chat: bool = False
    """Put questions through the model's chat template, examples as turns."""
    max_length: int | None = None
    """Positions of context and answer together; None is what the model was made for."""
    allow_code: bool = False
    """Run what tasks bring with them or have the model write."""
    fresh: bool = False
    """Forget answers that are kept."""


def run_lm_eval(
    names: Sequence[str],
    loaded: LoadedModel,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> dict[str, TaskScores]:
    """Run tasks, groups and tags of lm-eval.

    Answers are kept as they come; what is asked again about the same weights is not computed again.

    Args:
        names: of public tasks, groups or tags, and paths of YAML files or of folders with some.
        loaded: the model.
        settings: how.
        progress: told while the model answers.

    Returns:
        the scores of each task, and of each group that sums some up, in lm-eval's order.

    Raises:
        ConfigError: lm-eval is not installed, a name is not known, or a task runs code and that was not allowed.
        DataError: a definition is damaged, or its data cannot be had.
    """
    settings = settings or Settings()
    need_lm_eval(names)
    with apart(allow_code=settings.allow_code):
        from lm_eval.evaluator import evaluate

        from mlxllm.evaluation.harness.model import MlxllmLM

        chosen = choose(names, settings.allow_code)
        tasks = load_tasks(chosen)
        _prepare(tasks, settings.shots)
        chat = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory) if settings.chat else None
        # One file for all tasks: what was asked, and in how many positions, is in its keys.
        with cache_of(loaded.fingerprint, "lm-eval", fresh=settings.fresh) as cache:
            model = MlxllmLM(
                loaded,
                max_length=settings.max_length,
                chat=chat,
                cache=cache,
                progress=outside(progress) if progress is not None else None,
            )
            with silent(), blamed_on(" and ".join(names), lambda: model.working):
                results = evaluate(
                    model,
                    tasks,
                    limit=settings.limit,
                    bootstrap_iters=_BOOTSTRAPS,
                    apply_chat_template=settings.chat,
                    fewshot_as_multiturn=settings.chat,
                    confirm_run_unsafe_code=settings.allow_code,
                )
    return _scores(results, settings, chosen.definitions, model.max_length)


def _prepare(tasks: Mapping[str, Any], shots: int | None) -> None:
    """What lm-eval's `simple_evaluate` does beforehand. It also starts programs to tell of the machine, and would fork."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)  # noqa: NPY002  (tasks draw from it)
    for task in tasks["tasks"].values():
        default = task.get_config("num_fewshot")
        if default != 0 and shots is not None:
            task.set_config(key="num_fewshot", value=shots)
        elif default is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def _scores(
    results: Mapping[str, Any], settings: Settings, definitions: Sequence[Definition], max_length: int
) -> dict[str, TaskScores]:
    files = {one.name: hashlib.sha256(one.path.read_bytes()).hexdigest()[:16] for one in definitions}
    scores = {}
    for name, found in results["results"].items():
        metrics = flattened(found)
        if not metrics:
            continue  # a group that sums nothing up
        decides = {
            "lm_eval": lm_eval_version(),
            "version": results["versions"].get(name),
            "shots": results["n-shot"].get(name),
            "limit": settings.limit,
            "chat": settings.chat,
            "max_length": max_length,
        }
        if name in files:
            decides["file"] = files[name]
        items = results["samples"].get(name, [])
        scores[name] = TaskScores(metrics, int(found.get("sample_len", len(items))), decides, items)
    return scores


def flattened(found: Mapping[str, Any]) -> dict[str, float | None]:
    """lm-eval's `acc,none` and `acc_stderr,none` as `acc` and `acc_stderr`; `m,filter` as `m/filter`."""
    metrics: dict[str, float | None] = {}
    for key, value in found.items():
        metric, comma, chosen = key.partition(",")
        if not comma or isinstance(value, str):
            continue
        is_error = metric.endswith(STDERR)
        name = metric.removesuffix(STDERR) if is_error else metric
        name = name if chosen == "none" else f"{name}/{chosen}"
        metrics[name + STDERR if is_error else name] = float(value) if value is not None else None
    return metrics
