"""What lm-eval's tasks, groups and tags are called, and where they are defined.

lm-eval reads fourteen thousand files to know its own names. That takes seconds, so what it found is kept in
`<home>/cache/lm-eval/` until another version of it is installed.
"""

import difflib
from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.errors import ConfigError, UserError
from mlxllm.runs.files import read_json, write_json_atomic

Index = dict[str, Any]
"""Name -> lm-eval's own `Entry`."""

INSTALL = "pip install 'mlxllm[eval]'"


def need_lm_eval(names: Sequence[str]) -> None:
    """Refuse where lm-eval is not installed.

    Raises:
        ConfigError: it is not; `names` is what it is needed for.
    """
    if find_spec("lm_eval") is None:
        what = ", ".join(map(repr, names))
        raise ConfigError(f"{what}: lm-eval, which has the public tasks, is not installed; {INSTALL}")


def check_known(names: Sequence[str], known: Collection[str]) -> None:
    """Refuse names that no task, group or tag has.

    Raises:
        ConfigError: there is no such task; the message has all such names, with near ones.
    """
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    told = []
    for name in unknown:
        here = [path.name for path in Path().iterdir()] if name.count(".") else []
        near = difflib.get_close_matches(name, here, n=2, cutoff=0.7) + near_names(name, known)
        told.append(repr(name) + (f" (near names: {', '.join(near)})" if near else ""))
    all_names = "" if all("near names" in each for each in told) else " (its names: `lm_eval ls tasks`)"
    raise ConfigError(
        f"there is no task {' and no task '.join(told)}, neither here as a file nor in lm-eval {lm_eval_version()}{all_names}"
    )


def near_names(name: str, known: Collection[str], count: int = 4) -> list[str]:
    """Names that somebody who wrote `name` may have meant, the likeliest first."""
    lower = {one.lower(): one for one in known}
    wanted = name.lower()
    found = difflib.get_close_matches(wanted, lower, n=count, cutoff=0.7)
    found += sorted((one for one in lower if wanted in one), key=len)[:count] if len(wanted) > 2 else []
    return [lower[one] for one in dict.fromkeys(found)][:count]


def lm_eval_version() -> str:
    """Of the installed lm-eval.

    Raises:
        ConfigError: there is none.
    """
    try:
        return version("lm_eval")
    except PackageNotFoundError:
        raise ConfigError(f"lm-eval is not installed; {INSTALL}") from None


def index_file() -> Path:
    """Where `public_index` is kept; the first time it takes a while."""
    return paths.folder("cache") / "lm-eval" / f"tasks-{lm_eval_version()}.json"


def public_index() -> Index:
    """All that the installed lm-eval defines."""
    from lm_eval import tasks
    from lm_eval.tasks._index import Entry, Kind

    root, file = Path(tasks.__file__).parent, index_file()
    try:
        kept = read_json(file)
        if kept["root"] != str(root):
            raise UserError("of another installation")
        found = {
            name: Entry(name, Kind[kind], root / path if path else None, tags=set(tags))
            for name, (kind, path, tags) in kept["tasks"].items()
        }
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        found = tasks.TaskManager().task_index
        told = {
            name: [one.kind.name, str(one.yaml_path.relative_to(root)) if one.yaml_path else None, sorted(one.tags)]
            for name, one in found.items()
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(file, {"root": str(root), "tasks": told})
    return found
