"""From names on the command line to lm-eval's tasks, with their data."""

import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.errors import ConfigError, DataError
from mlxllm.evaluation.harness.apart import apart, blamed_on
from mlxllm.evaluation.harness.faults import fault, wrong_metrics
from mlxllm.evaluation.harness.files import Definition, read_definitions, refuse_code
from mlxllm.evaluation.harness.names import check_known, need_lm_eval, public_index

_HUMANEVAL = "openai/openai_humaneval"
"""Data whose file `mlxllm eval --tasks` reads itself."""


@dataclass(frozen=True)
class Chosen:
    """What names stand for."""

    asked: tuple[str, ...]
    """As lm-eval takes them: names, and paths of files with one task each."""
    definitions: tuple[Definition, ...]
    """Of local files."""
    manager: Any
    """lm-eval's `TaskManager`, which knows them."""


def check_tasks(names: Sequence[str], *, allow_code: bool = False) -> None:
    """Refuse what cannot be run, before a model is loaded and data is fetched.

    Args:
        names: as `run_lm_eval` takes them.
        allow_code: local definitions may run code.

    Raises:
        ConfigError: lm-eval is not installed, a name is not known, or a definition runs code and that is not allowed.
        DataError: a definition is damaged.
    """
    need_lm_eval(names)
    with apart():
        choose(names, allow_code)


def choose(names: Sequence[str], allow_code: bool) -> Chosen:
    """See `check_tasks`; to be called `apart`."""
    from lm_eval.tasks import TaskManager

    local = {name: read_definitions(Path(name).expanduser()) for name in names if paths.is_path(name)}
    definitions = tuple(one for found in local.values() for one in found)
    if not allow_code:
        for one in definitions:
            refuse_code(one)
    asked: list[str] = []
    folders: list[Path] = []
    for name in names:
        if name not in local:
            asked.append(name)
            continue
        found, path = local[name], Path(name).expanduser()
        if path.is_file() and not found[0].is_group:
            asked.append(str(path))
            continue
        # lm-eval looks for the members of a group among the files that it was told of.
        folders.append(path.parent if path.is_file() else path)
        members = {child for one in found for child in one.children}
        asked += [one.name for one in found if one.name not in members]
    if not allow_code:
        for folder in folders:
            for one in read_definitions(folder):
                refuse_code(one)
    manager = TaskManager(include_defaults=False, include_path=list(folders) or None)
    known = manager.task_index
    wanted = {name for name in asked if not paths.is_path(name)}
    if not (wanted | {child for one in definitions for child in one.children}) <= known.keys():
        for name, entry in public_index().items():
            known.setdefault(name, entry)
        check_known(sorted(wanted), known)
    if not allow_code:
        _refuse_programs(wanted, known)
    return Chosen(tuple(dict.fromkeys(asked)), definitions, manager)


def load_tasks(chosen: Chosen) -> Mapping[str, Any]:
    """lm-eval's tasks and groups with their data, as its `evaluate` takes them; to be called `apart`.

    Raises:
        DataError: the data cannot be had, or a definition makes no sense to lm-eval.
    """
    _go_offline_without_network()
    built: list[Any] = []
    for name in chosen.asked:
        with blamed_on(f"task {name!r}"):
            try:
                found = chosen.manager.load([name])
            except Exception as error:
                if said := fault(error):
                    raise DataError(f"task {name!r} {said}") from error
                raise
            built += [found["groups"][name]] if name in found["groups"] else found["tasks"].values()
    within = {name for one in built for name in _members(one)}
    with blamed_on("these tasks together"):
        tasks: Mapping[str, Any] = chosen.manager.load([one for one in built if _name(one) not in within])
    for name, task in tasks["tasks"].items():
        if said := wrong_metrics(task):
            raise DataError(f"task {name!r} {said}")
    return tasks


def _refuse_programs(names: Iterable[str], known: Mapping[str, Any]) -> None:
    """Refuse tasks that run what the model writes; some fetch the program that does so as soon as they are loaded.

    Raises:
        ConfigError: there is one.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        entry = known[name]
        content = load_yaml(entry.yaml_path, resolve_func=False) if entry.yaml_path else {"task": sorted(entry.tags)}
        if content.get("unsafe_code"):
            told = f"task {name!r} runs programs that the model writes, with all your rights and no sandbox"
            if content.get("dataset_path") == _HUMANEVAL:
                raise ConfigError(
                    f"{told}; ask the file of the same puzzles, whose programs are locked in: --tasks HumanEval.jsonl.gz "
                    f"--allow-code-execution"
                )
            raise ConfigError(f"{told}; give --allow-code-execution if you accept that")
        members = content["task"] if isinstance(content.get("task"), list) else []
        waiting += [one if isinstance(one, str) else one.get("task", one.get("group")) for one in members]


def _members(built: Any) -> set[str]:
    """The tasks and groups in a group, at any depth; a task has none."""
    inner = [*built.get_all_tasks(), *built.get_all_groups()] if hasattr(built, "get_all_tasks") else []
    return {_name(one) for one in inner if one is not built}


def _name(built: Any) -> str:
    return str(built.name if hasattr(built, "get_all_tasks") else built.task_name)


def _go_offline_without_network() -> None:
    """Where the Hub has no address, spare the user the half minute that its library would try again for each task."""
    import socket

    from huggingface_hub import constants

    host = constants.ENDPOINT.split("//")[-1].split("/")[0].split(":")[0]
    if constants.HF_HUB_OFFLINE or urllib.request.getproxies():
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        import datasets

        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
