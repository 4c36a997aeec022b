"""Task definitions of lm-eval in local YAML files: which there are, and whether they would run code of others.

A definition is more than data: `!function` names Python that is imported, and some metrics are programs of the Hub.
"""

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlxllm.errors import ConfigError, DataError
from mlxllm.evaluation.harness.faults import near_words

_SUFFIX = ".yaml"  # lm-eval passes over others in a folder, `.yml` as well
_MOST_FILES = 20_000
"""In a folder of tasks; lm-eval's own has 14,000."""
_PASSED_OVER = {"__pycache__", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class Definition:
    """One file."""

    path: Path
    name: str
    """Of its task or group."""
    is_group: bool
    children: tuple[str, ...]
    """What a group names, but for tasks that are defined in it."""


def is_definition(path: Path) -> bool:
    """Whether a path is to be read as definitions of lm-eval: a YAML file, or a folder with some in it."""
    return path.suffix in (_SUFFIX, ".yml") if path.is_file() else bool(_files(path))


def read_definitions(path: Path) -> list[Definition]:
    """The tasks and groups of a file or of a folder and those below it.

    Raises:
        DataError: the file is no definition, the folder has none, or one of them is damaged.
    """
    if not path.exists():
        near = difflib.get_close_matches(path.name, [one.name for one in path.absolute().parent.glob("*.y*ml")], n=3)
        raise DataError(f"there is no file {path}" + (f" (near names: {', '.join(near)})" if near else ""))
    found = []
    for file in _files(path) if path.is_dir() else [path]:
        definition = _definition(file, must=not path.is_dir())
        if definition is not None:
            found.append(definition)
    if not found:
        raise DataError(f"{path} has no YAML file that defines a task of lm-eval (with a `task:` or a `group:` in it)")
    return found


def refuse_code(definition: Definition) -> None:
    """Refuse a definition that runs code.

    Raises:
        ConfigError: it does; the message says what.
        DataError: the file, or one that it includes, cannot be read.
    """
    for file, what in _code_in(definition.path, set()):
        raise ConfigError(
            f"{file} {what} runs Python of whoever wrote it with all your rights; read it, and give "
            f"--allow-code-execution if you trust it"
        )


def _files(folder: Path) -> list[Path]:
    """All that lm-eval would look at: a file that it sees and we do not would be one that nobody has checked.

    Raises:
        ConfigError: the folder is far too large for one of tasks, such as a home or a whole disk.
    """
    count = 0
    for _, _, names in os.walk(folder):
        if (count := count + len(names)) > _MOST_FILES:
            raise ConfigError(
                f"{folder} has more than {_MOST_FILES:,} files in it and below, too many for a folder of tasks; name the "
                f"folder of the tasks itself, or their files"
            )
    found = folder.rglob(f"*{_SUFFIX}") if folder.is_dir() else ()
    return sorted(file for file in found if file.is_file() and not _PASSED_OVER & set(file.parts))


def _definition(file: Path, *, must: bool) -> Definition | None:
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        content = load_yaml(file, resolve_func=False)
    except Exception as error:  # of the YAML library, of the file system, or lm-eval's own about its content
        raise _unusable(file, error) from None
    group, task = content.get("group"), content.get("task")
    if isinstance(group, str) and isinstance(task, list):
        children = [one if isinstance(one, str) else one.get("task") for one in task if isinstance(one, str | dict)]
        return Definition(file, group, True, tuple(one for one in children if isinstance(one, str)))
    if isinstance(task, str):
        return Definition(file, task, False, ())
    if must:
        raise DataError(f"{file} is no task of lm-eval: it has no `task:` with a name and no `group:` with its tasks")
    return None


def _code_in(file: Path, seen: set[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with what it would run, `file` and those that it includes."""
    import lm_eval
    import yaml
    from lm_eval.api import metrics as _metrics  # noqa: F401  (it fills the registry)
    from lm_eval.api.registry import metric_registry

    file = file.expanduser().resolve()
    if file in seen or file.is_relative_to(Path(lm_eval.__file__).parent):
        return
    seen.add(file)
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unusable(file, error) from None
    nodes = [root] if root is not None else []
    while nodes:
        node = nodes.pop()
        if not node.tag.startswith("tag:yaml.org,2002:"):
            yield file, f"calls a function ({node.tag} {getattr(node, 'value', '')!s:.60}), which"
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                nodes += [key, value]
                scalars = [value] if isinstance(value, yaml.ScalarNode) else []
                scalars += [one for one in value.value if isinstance(one, yaml.ScalarNode)] if not scalars else []
                texts = [one.value for one in scalars]
                if key.value in ("class", "use_prompt"):
                    yield file, f"has `{key.value}:`, which"
                elif key.value in ("unsafe_code", "hf_evaluate", "trust_remote_code") and texts != ["false"]:
                    yield file, f"has `{key.value}: {' '.join(texts)}`, which"
                elif key.value == "metric" and any(text not in metric_registry for text in texts):
                    near = near_words(texts[0], metric_registry)
                    yield file, f"asks for the metric {texts[0]!r}, which lm-eval does not have{near}; one of the Hub"
                elif key.value == "include":
                    for text in texts:
                        yield from _code_in(file.parent / text, seen)


def _unusable(file: Path, error: Exception) -> DataError:
    said = " ".join(str(error).split())
    return DataError(f"{file} cannot be read as a task of lm-eval: {said:.300}")
