"""The models that can be talked to, as files tell it: runs, their checkpoints, and the stages of one life."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.config import SampleConfig
from mlxllm.data.hub.models import cached_model, parse_hub_name
from mlxllm.errors import ConfigError, UserError
from mlxllm.runs import (
    ACTIVE,
    RunDirectory,
    RunSummary,
    Stage,
    all_runs,
    ancestors,
    checkpoint_steps,
    descendants,
    list_runs,
    read_state,
    run_of,
    run_settings,
)
from mlxllm.tokenizer.generation_config import generation_defaults

STAGES = {"pretrain": "base", "sft": "SFT", "dpo": "DPO"}
"""Method of a run -> what its stage is called."""
KINDS = {"pretrain": "continues text", "sft": "answers (SFT)", "dpo": "answers (DPO)"}


@dataclass(frozen=True)
class ModelRow:
    """A run in the list of models."""

    run: RunSummary
    steps: tuple[int, ...] = field(default=())
    """Its checkpoints; without any there is nothing to talk to yet."""

    @property
    def address(self) -> str:
        """What to type for its last checkpoint."""
        return RunDirectory(Path(self.run.path)).address

    @property
    def kind(self) -> str:
        """What it does."""
        return KINDS.get(self.run.method or "", "a model")

    @property
    def trains(self) -> bool:
        """Its trainer lives."""
        return self.run.status in ACTIVE

    def at(self, step: int) -> str:
        """What to type for a checkpoint."""
        return f"{self.address}@{step}"


def model_rows() -> list[ModelRow]:
    """All runs, the newest first; reads files, so call it off the event loop."""
    return [ModelRow(run, tuple(checkpoint_steps(RunDirectory(Path(run.path))))) for run in list_runs()]


def exported_models() -> list[Path]:
    """The folders of the home's exports that hold a whole model which can be loaded here, the newest first; reads files."""
    folder = paths.folder("exports")
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.startswith(".") and (path / "config.json").is_file() and any(path.glob("*.safetensors")):
            found.append((path.stat().st_mtime, path))
    return [path.absolute() for _, path in sorted(found, reverse=True)]


def check_model(text: str) -> None:
    """What can be said of a name before it is loaded.

    Raises:
        ConfigError: there is nothing of that name; the message says what to do.
    """
    name = text.strip()
    if not name:
        raise ConfigError("give a run (RUN, RUN@STEP, RUN@best), or the path of a folder with a model, such as ./model")
    base = name.rpartition("@")[0] or name
    if run_of(name) is not None or Path(name).expanduser().is_dir() or Path(base).expanduser().is_dir():
        return
    if Path(name).expanduser().is_file():
        raise ConfigError(
            f"{name} is a file; a model is a folder with config.json and .safetensors files: give that folder"
        )
    if "/" in name and not paths.is_path(name) and (wanted := parse_hub_name(name)) is not None:
        if cached_model(wanted) is not None:
            return
        at = f" --revision {wanted.revision}" if wanted.revision else ""
        raise ConfigError(
            f"there is no folder {name}, and the model of the Hub is not here yet; fetch it with "
            f"`hf download {wanted.name}{at}` in a terminal, then its name will do"
        )
    paths.existing("runs", base)


def first_model(remembered: str) -> str:
    """The model to open with: the one that was open last, else the newest that there is; "" where there is none."""
    if remembered and (run_of(remembered) is not None or Path(remembered).expanduser().is_dir()):
        return remembered
    found = []
    for run in all_runs():
        if checkpoint_steps(run):
            found.append((_begun(run), run.address))
    return max(found, default=(0.0, ""))[1]


def _begun(run: RunDirectory) -> float:
    try:
        state = read_state(run)
    except UserError:
        return 0.0
    return state.started if state is not None else 0.0


def life_of(model: str) -> list[Stage]:
    """The stages of the life that a model belongs to, the first one first: what it was made from, it, and what came after.

    Of what came after, one line: the newest run that began with the one before.
    """
    run = run_of(model)
    if run is None:
        return []
    last = max((child for child in descendants(run) if checkpoint_steps(child)), key=_depth_and_age, default=run)
    return [stage for stage in ancestors(last) if checkpoint_steps(stage.run)]


def relatives(model: str) -> list[str]:
    """What to compare a model with: the stages of its life, else checkpoints of its run; always with itself."""
    stages = [stage.address for stage in life_of(model)]
    run = run_of(model)
    if len(stages) > 1:
        return [model if run is not None and name.partition("@")[0] == run.address else name for name in stages]
    steps = checkpoint_steps(run) if run is not None else []
    if run is None or len(steps) < 2:
        return [model]
    few = dict.fromkeys((steps[0], steps[len(steps) // 2], steps[-1]))
    return [f"{run.address}@{step}" for step in few]


def _depth_and_age(run: RunDirectory) -> tuple[int, float]:
    return len(ancestors(run)), _begun(run)


def stage_name(model: str) -> str:
    """What a model's stage is called: base, SFT or DPO; "" where that is not known."""
    run = run_of(model)
    return STAGES.get(str(run_settings(run).get("method")), "") if run is not None else ""


def untuned(model: str) -> str:
    """The model that a tuned one began with; "" for none."""
    run = run_of(model)
    chain = ancestors(run) if run is not None else []
    return chain[-2].address if len(chain) > 1 else ""


def sampling_of(model: str) -> SampleConfig:
    """How a model wants to be sampled: as generation_config.json asks, or as its run drew its own samples; else as usual."""
    run, usual = run_of(model), SampleConfig()
    if run is None:
        own: Any = generation_defaults(folder) if (folder := _folder_of(model)) is not None else {}
    else:
        # Of a model of others that was tuned here; the run's samples are then drawn by our usual settings.
        folder = Path(run.path) / "tokenizer"
        own = generation_defaults(folder) or run_settings(run).get("sample")
    try:
        asked = SampleConfig.model_validate(own)
    except ValueError:
        return usual
    return asked.model_copy(update={"seed": usual.seed, "max_tokens": max(asked.max_tokens, usual.max_tokens)})


def _folder_of(model: str) -> Path | None:
    """The folder of a model that is no run: a path, or what of the Hub is here already."""
    try:
        if paths.is_path(model) or (name := parse_hub_name(model)) is None:
            return paths.existing("runs", model)
        return cached_model(name)
    except UserError:
        return None


def sample_prompt_of(model: str) -> str:
    """What a run's samples begin with; "" where that is not known."""
    run = run_of(model)
    train = run_settings(run).get("train") if run is not None else None
    prompt = train.get("sample_prompt") if isinstance(train, dict) else None
    return prompt if isinstance(prompt, str) else ""
