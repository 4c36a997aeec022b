"""`mlxllm eval --tasks`: questions with known answers, from local files and from lm-eval."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlxllm import paths
from mlxllm.cli import evaluate_lm_eval
from mlxllm.cli.item_line import ItemLine
from mlxllm.cli.sampling import sample_config, say
from mlxllm.cli.table import print_table
from mlxllm.errors import ConfigError, UserError

if TYPE_CHECKING:  # MLX is imported by the commands that use it
    from mlxllm.evaluation.tasks.items import Task
    from mlxllm.evaluation.tasks.running import Outcome, Sample
    from mlxllm.evaluation.tasks.sandbox import Sandbox
    from mlxllm.model.loading import LoadedModel
    from mlxllm.scores import Result

_FILE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".gz", ".zst", ".parquet", ".txt", ".yaml", ".yml")
"""A name that ends so is that of a file, also where there is none."""
_LOCKED = {
    "network": "the network",
    "files": "files outside their folder",
    "processes": "more processes",
    "signals": "signals to others",
}


@dataclass(frozen=True)
class Options:
    """What the command line says about tasks."""

    shots: int | None = None
    limit: int | None = None
    chat: bool = False
    max_length: int | None = None
    max_tokens: int | None = None
    samples_per_task: int | None = None
    temperature: float | None = None
    seed: int | None = None
    allow_code: bool = False
    fresh: bool = False
    samples: Path | None = None


@dataclass(frozen=True)
class Named:
    """What `--tasks` names."""

    local: list["Task"]
    public: list[str]
    """Names and YAML files that are lm-eval's."""


def look_up(names: Sequence[str], options: Options) -> Named:
    """What the names stand for, before a model is loaded: files of questions, and what is lm-eval's.

    Raises:
        ConfigError: a name is empty, programs would be run and that is not allowed, or lm-eval is needed and not there.
        DataError: a file is not there, or holds no questions.
    """
    from mlxllm.evaluation.tasks.files import check_there, read_tasks
    from mlxllm.evaluation.tasks.items import Code, asked

    sample_config(temperature=options.temperature, seed=options.seed)  # refuses what cannot be
    split = [name.strip() for each in names for name in ([each] if _is_file(each) else each.split(","))]
    if not all(split):
        raise ConfigError("--tasks has an empty name; give files of questions or names of lm-eval, with commas between")
    public = [name for name in dict.fromkeys(split) if _is_lm_evals(name)]
    files = [Path(name) for name in dict.fromkeys(split) if name not in public]
    check_there(files)
    local = [task for path in files for task in read_tasks(path)]
    for task in local:
        if isinstance(task.items[0], Code) and not options.allow_code:
            raise ConfigError(
                f"the answers to {task.name} are programs, and whether they are right is seen by running them: programs "
                f"that nobody has read, each in a locked process of its own; give --allow-code-execution if you want that"
            )
        asked(task, options.shots, options.limit)  # too few examples are told before the model is loaded
    if public:
        evaluate_lm_eval.check(public, options)
    if options.samples is not None:
        _check_samples(options.samples, split)
    _tell_unused(local, options)
    return Named(_with_names_of_their_own(local), public)


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _check_samples(path: Path, names: Sequence[str]) -> None:
    """Refuse to write where nothing can be, and over the questions."""
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--samples {path}: there is no folder {path.absolute().parent}")
    asked = [Path(name).expanduser().resolve() for name in names]
    if path.exists() and any(path.resolve().is_relative_to(each) for each in asked):
        raise ConfigError(f"--samples {path} would be written over questions of --tasks; give another file")


def _tell_unused(local: Sequence["Task"], options: Options) -> None:
    """Say which options say how answers are written where none are, but by lm-eval's own settings."""
    from mlxllm.evaluation.tasks.items import Code, Sum

    kinds = {type(task.items[0]) for task in local}
    about_text = {"--max-tokens": options.max_tokens, "--temp": options.temperature, "--seed": options.seed}
    unused = [flag for flag, value in about_text.items() if value is not None and not kinds & {Sum, Code}]
    if options.samples_per_task is not None and Code not in kinds:
        unused.append("--samples-per-task")
    if unused:
        say(
            f"warning: {', '.join(unused)} changes nothing here: no local file asks for written "
            f"{'programs' if unused == ['--samples-per-task'] else 'answers'}, and tasks of lm-eval bring their own settings"
        )


def _is_lm_evals(name: str) -> bool:
    """Whether a name is for lm-eval: one that is no path, or YAML. This is the one place that decides."""
    from mlxllm.evaluation.harness.files import is_definition

    path = Path(name).expanduser()
    if paths.is_path(name):
        return path.exists() and is_definition(path)
    return "/" not in name and path.suffix not in _FILE_SUFFIXES


def _with_names_of_their_own(tasks: Sequence["Task"]) -> list["Task"]:
    from dataclasses import replace

    taken: dict[str, int] = {}
    named = []
    for task in tasks:
        taken[task.name] = taken.get(task.name, 0) + 1
        number = taken[task.name]
        named.append(replace(task, name=f"{task.name}-{number}") if number > 1 else task)
    return named


def score(
    loaded: "LoadedModel", named: Named, options: Options, *, shown: bool
) -> dict[str, Mapping[str, float | int | None]]:
    """The scores of each task, kept for whoever tells of the model later, and shown as a table if `shown`."""
    from mlxllm import scores

    if options.chat and loaded.kind == "base":
        say(f"warning: nothing shows that {loaded.name} was tuned for chat; without --chat it is asked plainly")
    results: list[Result] = []
    if options.samples is not None:
        _write_samples(options.samples, (), begin=True)
    public = evaluate_lm_eval.score(loaded, named.public, options) if named.public else []
    found: Iterator[tuple[Result, Sequence[Mapping[str, Any]]]] = chain(_local(loaded, named.local, options), public)
    for result, samples in found:
        scores.keep(result)
        results.append(result)
        if options.samples is not None:
            _write_samples(options.samples, samples)
    if shown:
        _print(results)
    return {result.task: {**result.metrics, "samples": result.samples} for result in results}


def _local(loaded: "LoadedModel", tasks: Sequence["Task"], options: Options) -> "Iterator[tuple[Result, list[Sample]]]":
    """The result of each task, with its items; those of a folder are followed by what they make together."""
    from mlxllm.conversation.choosing import chat_format_of
    from mlxllm.evaluation.tasks.examinee import Examinee
    from mlxllm.evaluation.tasks.groups import together
    from mlxllm.evaluation.tasks.items import Code
    from mlxllm.evaluation.tasks.running import Settings, run_task

    sandbox = _sandbox() if any(isinstance(task.items[0], Code) for task in tasks) else None
    examinee = Examinee(
        loaded.model,
        loaded.tokenizer,
        options.max_length or loaded.config.max_position_embeddings,
        chat_format_of(loaded.tokenizer, loaded.tokenizer_directory) if options.chat else None,
    )
    given: dict[str, Any] = {
        "shots": options.shots,
        "limit": options.limit,
        "max_tokens": options.max_tokens,
        "samples_per_task": options.samples_per_task,
        "temperature": options.temperature,
        "seed": options.seed,
        "fresh": options.fresh,
        "sandbox": sandbox,
    }
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    for group, members in groupby(tasks, lambda task: task.group):
        outcomes, seconds = [], 0.0
        for task in members:
            begun = time.monotonic()
            line = ItemLine(task.name)
            try:
                outcomes.append(run_task(task, examinee, loaded.fingerprint, settings, line))
            finally:
                line.clear()
            _tell(outcomes[-1])
            taken = time.monotonic() - begun
            seconds += taken
            yield _result(loaded, outcomes[-1], options, taken), outcomes[-1].samples
        if group is not None:
            yield _result(loaded, together(group, outcomes), options, seconds), []


def _tell(outcome: "Outcome") -> None:
    name, count = outcome.task.name, outcome.count
    if outcome.reused:
        say(f"{name}: {outcome.reused:,} of {count:,} items were known already (--fresh asks anew)")
    if outcome.cut:
        fewer = "; --shots shows fewer examples" if outcome.shots else ""
        say(
            f"warning: {name}: {outcome.cut:,} of {count:,} prompts do not fit into the model's "
            f"{outcome.decides['max_length']:,} positions and lost their beginning{fewer}"
        )


def _sandbox() -> "Sandbox":
    from mlxllm.evaluation.tasks.sandbox import Sandbox

    sandbox = Sandbox()
    open_ = [what for name, what in _LOCKED.items() if name not in sandbox.guards]
    shut = [what for name, what in _LOCKED.items() if name in sandbox.guards]
    if open_:
        say(
            f"warning: this system does not keep programs from {', '.join(open_)}; use a machine or a container where "
            f"nothing can be broken"
        )
    if shut:
        say(f"programs that the model writes are run; they are kept from {', '.join(shut)}")
    return sandbox


def _result(loaded: "LoadedModel", outcome: "Outcome", options: Options, seconds: float) -> "Result":
    from mlxllm import scores

    return scores.Result.of(
        loaded,
        task=outcome.task.name,
        metrics=outcome.metrics,
        samples=outcome.count,
        settings={**outcome.decides, "limit": options.limit, "chance": outcome.task.chance},
        seconds=seconds,
    )


def _write_samples(path: Path, samples: Sequence[Mapping[str, Any]], *, begin: bool = False) -> None:
    try:
        with open(path, "w" if begin else "a", encoding="utf-8") as file:
            file.writelines(json.dumps(sample, ensure_ascii=False, default=str) + "\n" for sample in samples)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _print(results: "Sequence[Result]") -> None:
    from mlxllm.scores import STDERR

    rows = []
    for result in results:
        name, chance = result.task, result.settings.get("chance")
        for metric, value in result.metrics.items():
            if metric.endswith(STDERR):
                continue
            error = result.error_of(metric)
            rows.append(
                (
                    name,
                    metric,
                    "-" if value is None else _figure(value),
                    "" if error is None else f"± {_figure(error)}",
                    f"{chance:.3f}" if chance is not None and metric.startswith("acc") else "",
                    f"{result.samples:,}",
                    str(result.settings.get("shots", "")),
                )
            )
            name = ""
    header = ("task", "metric", "value", "error", "chance", "items", "shots")
    print_table(header, rows, expendable=("shots", "items", "chance"))
    sys.stdout.flush()


def _figure(value: float) -> str:
    return f"{value:.4f}" if value < 1000 else f"{value:,.1f}" if value < 1e6 else f"{value:.2e}"
