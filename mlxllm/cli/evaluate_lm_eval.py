"""`mlxllm eval --tasks` with names and YAML files of lm-eval."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlxllm import paths
from mlxllm.cli.item_line import ItemLine
from mlxllm.cli.sampling import say

if TYPE_CHECKING:  # MLX and lm-eval are imported by the commands that use them
    from mlxllm.cli.evaluate_tasks import Options
    from mlxllm.model.loading import LoadedModel
    from mlxllm.scores import Result


def check(names: Sequence[str], options: "Options") -> None:
    """Refuse what lm-eval cannot run, before a model is loaded; see `check_tasks`."""
    from mlxllm.evaluation.harness.loading import check_tasks
    from mlxllm.evaluation.harness.names import index_file, need_lm_eval

    need_lm_eval(names)
    if not all(map(paths.is_path, names)) and not index_file().is_file():
        say("lm-eval's task definitions are looked through, once for all: this takes up to half a minute")
    check_tasks(names, allow_code=options.allow_code)


def score(
    loaded: "LoadedModel", names: Sequence[str], options: "Options"
) -> "list[tuple[Result, list[Mapping[str, Any]]]]":
    """Each task's and group's scores, with its questions as lm-eval logs them."""
    from mlxllm import scores
    from mlxllm.evaluation.harness.tasks import Settings, run_lm_eval

    settings = Settings(
        limit=options.limit,
        shots=options.shots,
        chat=options.chat,
        max_length=options.max_length,
        allow_code=options.allow_code,
        fresh=options.fresh,
    )
    lines: dict[str, ItemLine] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in lines:
            _clear(lines)
        lines.setdefault(what, ItemLine(f"lm-eval, {what}"))(done, total)

    begun = time.monotonic()
    try:
        found = run_lm_eval(names, loaded, settings, show)
    finally:
        _clear(lines)
    seconds = time.monotonic() - begun
    return [
        (
            scores.Result.of(
                loaded,
                task=name,
                metrics=one.metrics,
                samples=one.samples,
                settings=one.settings,
                seconds=seconds if len(found) == 1 else None,
            ),
            # Documents may hold what JSON has no word for, such as dates.
            [json.loads(json.dumps({"task": name, **item}, default=str)) for item in one.items],
        )
        for name, one in found.items()
    ]


def _clear(lines: Mapping[str, ItemLine]) -> None:
    for line in lines.values():
        line.clear()
