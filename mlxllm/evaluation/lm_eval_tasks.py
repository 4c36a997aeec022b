"""Tasks of lm-eval, public ones by name and local ones by file, run with a model of ours."""

import contextlib
import hashlib
import io
import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlxllm import paths
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.errors import ConfigError, DataError, UserError
from mlxllm.evaluation.item_cache import ItemCache, cache_of
from mlxllm.evaluation.lm_eval_files import Definition, read_definitions, refuse_code
from mlxllm.evaluation.lm_eval_names import check_known, lm_eval_version, need_lm_eval, public_index
from mlxllm.model.loading import LoadedModel
from mlxllm.scores import STDERR


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
    """Examples before a question; None is what the task says. A task that fixes none keeps to it."""
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
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, TaskScores]:
    """Run tasks, groups and tags of lm-eval.

    Answers are kept as they come; what is asked again about the same weights is not computed again.

    Args:
        names: of public tasks, groups or tags, and paths of YAML files or of folders with some.
        loaded: the model.
        settings: how.
        progress: told what is done, how many and of how many, while the model answers.

    Returns:
        the scores of each task and each group that sums some up, in lm-eval's order.

    Raises:
        ConfigError: lm-eval is not installed, a name is not known, or a task runs code and that was not allowed.
        DataError: a definition is damaged, or its data cannot be had.
    """
    settings = settings or Settings()
    need_lm_eval(names)
    with _apart():
        from mlxllm.evaluation.lm_eval_model import MlxllmLM

        tasks, definitions = _load(names, settings)
        _prepare(tasks, settings)
        chat = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory) if settings.chat else None
        with _cache(loaded, settings.fresh) as cache:
            model = MlxllmLM(
                loaded,
                max_length=settings.max_length,
                chat=chat,
                cache=cache,
                progress=_outside(progress) if progress is not None else None,
            )
            results = _evaluate(model, tasks, settings)
    return _scores(results, settings, definitions, model.max_length)


def _load(names: Sequence[str], settings: Settings) -> tuple[dict[str, Any], list[Definition]]:
    """lm-eval's tasks, and the local files that some of them come from."""
    from lm_eval.tasks import TaskManager

    local = [(name, read_definitions(Path(name).expanduser())) for name in names if paths.is_path(name)]
    definitions = [one for _, found in local for one in found]
    if not settings.allow_code:
        for one in definitions:
            refuse_code(one)
    asked: list[str] = []
    folders: list[Path] = []
    for name in names:
        found = dict(local).get(name)
        if found is None:
            asked.append(name)
        elif len(found) == 1 and not found[0].is_group and not Path(name).is_dir():
            asked.append(str(found[0].path))
        else:
            # lm-eval looks for the members of a group among the files that it was told of.
            folders.append(found[0].path.parent if Path(name).is_file() else Path(name))
            members = {child for one in found for child in one.children}
            asked += [one.name for one in found if one.name not in members]
    manager = TaskManager(include_defaults=False, include_path=list(folders) or None)
    known = manager.task_index
    members = {child for one in definitions for child in one.children}
    if any(name not in known for name in [*members, *asked] if not paths.is_path(name)):
        for name, entry in public_index().items():
            known.setdefault(name, entry)
        check_known([name for name in names if not paths.is_path(name)], known)
    _go_offline_without_network()
    built: list[Any] = []
    for name in dict.fromkeys(asked):
        with _task_at_fault(f"task {name!r}"):
            loaded = manager.load([name])
            built += [loaded["groups"][name]] if name in loaded["groups"] else loaded["tasks"].values()
    within = {name for one in built for name in _members(one)}
    with _task_at_fault("these tasks together"):
        return dict(manager.load([one for one in built if _name(one) not in within])), definitions


def _members(built: Any) -> set[str]:
    """The tasks and groups in a group, at any depth; a task has none."""
    inner = [*built.get_all_tasks(), *built.get_all_groups()] if hasattr(built, "get_all_tasks") else []
    return {_name(one) for one in inner if one is not built}


def _name(built: Any) -> str:
    return str(built.name if hasattr(built, "get_all_tasks") else built.task_name)


def _prepare(tasks: Mapping[str, Any], settings: Settings) -> None:
    """What lm-eval's own command does before it evaluates; that would start other programs, which MLX does not survive."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)  # noqa: NPY002  (tasks draw from it)
    for name, task in tasks["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False) and not settings.allow_code:
            raise ConfigError(
                f"task {name!r} runs programs that the model writes, with all your rights and no sandbox but lm-eval's; "
                f"give --allow-code-execution if you accept that"
            )
        default = task.get_config("num_fewshot")
        if default != 0 and settings.shots is not None:
            task.set_config(key="num_fewshot", value=settings.shots)
        elif default is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def _evaluate(model: Any, tasks: dict[str, Any], settings: Settings) -> dict[str, Any]:
    from lm_eval.evaluator import evaluate

    with contextlib.redirect_stderr(io.StringIO()), _task_at_fault("lm-eval", model):
        found: dict[str, Any] = evaluate(
            model,
            tasks,
            limit=settings.limit,
            bootstrap_iters=_BOOTSTRAPS,
            apply_chat_template=settings.chat,
            fewshot_as_multiturn=settings.chat,
            confirm_run_unsafe_code=settings.allow_code,
        )
    return found


def _scores(
    results: Mapping[str, Any], settings: Settings, definitions: Sequence[Definition], max_length: int
) -> dict[str, TaskScores]:
    files = {one.name: hashlib.sha256(one.path.read_bytes()).hexdigest()[:16] for one in definitions}
    scores = {}
    for name, found in results["results"].items():
        metrics = flattened(found)
        if not metrics:
            continue  # a group that sums nothing up
        told = {
            "lm_eval": lm_eval_version(),
            "version": results["versions"].get(name),
            "shots": results["n-shot"].get(name),
            "limit": settings.limit,
            "chat": settings.chat,
            "max_length": max_length,
        }
        if name in files:
            told["file"] = files[name]
        items = results.get("samples", {}).get(name, [])
        scores[name] = TaskScores(metrics, int(found.get("sample_len", len(items))), told, items)
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


def _cache(loaded: LoadedModel, fresh: bool) -> ItemCache:
    # One file for all tasks: what was asked is in the keys, and the positions it was asked with.
    return cache_of(loaded.fingerprint, "lm-eval", fresh=fresh)


@contextlib.contextmanager
def _task_at_fault(what: str, model: Any = None) -> Iterator[None]:
    """What goes wrong inside is told in one sentence, unless it is the model that was at work."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if model is not None and model.working:
            raise
        first = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ModuleNotFoundError):
            raise DataError(f"{what} needs a package that is not installed: {first:.300}") from error
        if isinstance(error, ConnectionError):
            raise DataError(
                f"the data of {what} cannot be fetched: {first:.300}; connect to the network, or give a local file"
            ) from error
        raise DataError(f"{what} cannot be run: {type(error).__name__}: {first:.300}") from error


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """lm-eval and what it uses print, log and warn; here they keep quiet, run templates in a sandbox, and do not fork."""
    said = logging.getLogger("lm_eval"), logging.getLogger("datasets"), logging.getLogger("huggingface_hub")
    before = [logger.level for logger in said]
    env = os.environ.get(_NO_FORK)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from jinja2.sandbox import SandboxedEnvironment
        from lm_eval import utils

        plain = utils.env
        utils.env = SandboxedEnvironment(undefined=plain.undefined, keep_trailing_newline=True)
        utils.env.filters.update(plain.filters)
        os.environ[_NO_FORK] = "1"
        for logger in said:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            utils.env = plain
            if env is None:
                del os.environ[_NO_FORK]
            else:
                os.environ[_NO_FORK] = env
            for logger, level in zip(said, before, strict=True):
                logger.setLevel(level)


_BOOTSTRAPS = 1000
"""Draws for the standard error of what is no mean; lm-eval's own 100,000 need several processes."""

_NO_FORK = "DISABLE_MULTIPROC"
"""lm-eval's: its bootstrap would fork, which a process that has used MLX does not survive."""


def _outside(progress: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """The same, with the stderr that is there now."""
    stderr = sys.stderr

    def tell(what: str, count: int, total: int) -> None:
        with contextlib.redirect_stderr(stderr):
            progress(what, count, total)

    return tell


def _go_offline_without_network() -> None:
    """Where the Hub has no address, spare the user the minute that its library would try again for each task."""
    import socket
    import urllib.request

    from huggingface_hub import constants

    host = constants.ENDPOINT.split("//")[-1].split("/")[0].split(":")[0]
    if constants.HF_HUB_OFFLINE or urllib.request.getproxies():
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        import datasets

        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
