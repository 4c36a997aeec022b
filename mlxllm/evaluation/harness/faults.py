"""What a task of lm-eval stumbled over while it was loaded, in the words of its definition."""

import difflib
from collections.abc import Collection, Mapping
from traceback import walk_tb
from typing import Any

_ASKED = ("test_split", "validation_split")
_SPLITS = (*_ASKED, "training_split", "fewshot_split")


def fault(error: Exception) -> str:
    """What is wrong with the definition or with its data, as a predicate of the task; "" where it is something else."""
    from datasets.exceptions import DatasetGenerationError
    from lm_eval.api.task import ConfigurableTask

    # Its errors tell neither the setting nor the data; the task that was about to be made knows both.
    seen = (frame.f_locals.get("self") for frame, _ in walk_tb(error.__traceback__))
    task = next((one for one in seen if isinstance(one, ConfigurableTask)), None)
    if task is None:
        return ""
    if said := wrong_metrics(task):
        return said
    data = getattr(task, "dataset", None)
    if isinstance(data, Mapping):
        return _wrong_splits(task, data)
    if isinstance(error, StopIteration):
        return f"has no questions: its data{_files_of(task)} is empty"
    if isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        return f"cannot read its data{_files_of(task)}: {' '.join(str(error.__cause__).split()):.300}"
    return ""


def wrong_metrics(task: Any) -> str:
    """Which metric or aggregation there is none of, as a predicate; lm-eval would find out when all is answered."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY, metric_registry

    if getattr(task.config, "process_results", None) is None:
        for name, function in getattr(task, "_metric_fn_list", {}).items():
            if function is None:
                return (
                    f"asks for the metric {name!r}, which lm-eval does not have{near_words(name, metric_registry)} and "
                    f"which could not be fetched from the Hub; correct its `metric:`"
                )
    for entry in getattr(task.config, "metric_list", None) or ():
        asked = entry.get("aggregation")
        if isinstance(asked, str) and asked not in AGGREGATION_REGISTRY:
            return (
                f"asks for the aggregation {asked!r}, which lm-eval does not have"
                f"{near_words(asked, AGGREGATION_REGISTRY)}; correct its `aggregation:`"
            )
    return ""


def near_words(name: str, known: Collection[str]) -> str:
    """Near names in brackets, with a blank before them; "" where there are none."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f" (near names: {', '.join(near)})" if near else ""


def _wrong_splits(task: Any, data: Mapping[str, Any]) -> str:
    has = f"its data has {', '.join(map(repr, data)) or 'none'}"
    asked = {key: getattr(task.config, key, None) for key in _SPLITS}
    for key, split in asked.items():
        if isinstance(split, str) and split not in data:
            return f"has `{key}: {split}`, and {has}; correct that line"
    if not any(asked[key] for key in _ASKED):
        return f"has neither `test_split:` nor `validation_split:`, so nothing says what is asked; {has}"
    for key, split in asked.items():
        if isinstance(split, str) and hasattr(data[split], "__len__") and not len(data[split]):
            return f"has no questions: its `{key}: {split}` is empty"
    return ""


def _files_of(task: Any) -> str:
    files = (getattr(task.config, "dataset_kwargs", None) or {}).get("data_files")
    listed = files.values() if isinstance(files, Mapping) else [files]
    return f" ({', '.join(map(str, listed))})" if files else ""
