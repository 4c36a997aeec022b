"""Everything that is known of the stages that made a model, gathered from their run directories."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm.config import ModelConfig
from mlxllm.data.manifest import Manifest, read_manifest
from mlxllm.data.provenance import nameless
from mlxllm.errors import UserError
from mlxllm.estimate import block_parameters, count_parameters
from mlxllm.paths import existing
from mlxllm.report.curves import Curves, read_curves
from mlxllm.report.scored import Found, results_of_run
from mlxllm.runs import ACTIVE, RunDirectory, RunSummary, ancestors, checkpoint_steps, explain, run_settings
from mlxllm.runs.files import sha256_of_file
from mlxllm.runs.summary import summarise_anyhow

METHODS = {"pretrain": "base", "sft": "sft", "dpo": "dpo"}
"""Method -> what its model is called; a second stage of one method gets a number."""
_HASHED_BYTES = 2 << 30
"""Larger files of records are told by name and size alone."""


@dataclass(frozen=True)
class RecordFile:
    """A file that a stage learned from."""

    name: str
    bytes: int | None
    """None where it is no longer there, or never was a file."""
    sha256: str


@dataclass(frozen=True)
class StageReport:
    """One run of the chain. Nothing in it needs the run to have got anywhere."""

    name: str
    """`base`, `sft`, `dpo`, `sft 2`, ..."""
    run: RunDirectory
    summary: RunSummary
    config: Mapping[str, Any]
    """config.json as it stands; empty where it cannot be read."""
    curves: Curves
    step: int
    """Of the checkpoint that the next stage began with; of the last one, the newest."""
    has_checkpoint: bool
    ending: str
    """How it ended, in a sentence; empty while it runs."""
    scores: tuple[Found, ...]
    """Of the checkpoint at `step`."""
    other_scores: tuple[Found, ...]
    """Of its other checkpoints."""

    @property
    def method(self) -> str:
        return str(self.config.get("method") or self.summary.method or "")

    @property
    def model(self) -> ModelConfig | None:
        """The transformer; None where its settings cannot be read."""
        return model_of(self.config)

    @property
    def base(self) -> str:
        """What it began with; empty for fresh weights."""
        return str(self.config.get("base_model") or "")

    @property
    def loss_unit(self) -> str:
        """What its losses are counted in."""
        return "nats a pair" if self.method == "dpo" else "nats a token"


def stages_of(run: RunDirectory) -> list[StageReport]:
    """The stages that made a run's model, the first one first, the run itself last."""
    found: list[StageReport] = []
    for stage in ancestors(run):
        method = METHODS.get(stage.method, "run")
        again = sum(each.name.partition(" ")[0] == method for each in found)
        found.append(stage_of(stage.run, f"{method} {again + 1}" if again else method, stage.step))
    return found


def stage_of(run: RunDirectory, name: str, step: int | None = None) -> StageReport:
    """One run, told about however far it came.

    Args:
        run: which.
        name: what it is called.
        step: of the checkpoint that counts; by default the newest.
    """
    summary = summarise_anyhow(run)
    steps = checkpoint_steps(run)
    at = step if step is not None else steps[-1] if steps else summary.step
    try:
        curves = read_curves(run.events)
    except UserError:
        curves = Curves()
    try:
        ending = "" if summary.status in ACTIVE else explain(run).sentence
    except UserError:
        ending = summary.exit_reason or ""
    scores = results_of_run(run)
    return StageReport(
        name=name,
        run=run,
        summary=summary,
        config=run_settings(run),
        curves=curves,
        step=at,
        has_checkpoint=at in steps,
        ending=ending,
        scores=tuple(each for each in scores if each.step == at),
        # At step 0 the weights are still those that it began with, whose scores stand with them.
        other_scores=tuple(each for each in scores if each.step not in (0, at)),
    )


def model_of(config: Mapping[str, Any]) -> ModelConfig | None:
    """The transformer of settings; None where they are not such."""
    try:
        return ModelConfig.model_validate(config["model"])
    except (KeyError, ValueError):
        return None


def parameters_by_part(model: ModelConfig) -> dict[str, int]:
    """Part of the model -> its weights; together they are all (`estimate.count_parameters`).

    With experts, `feed-forward` has the matrices of all of them.
    """
    embedding = model.vocab_size * model.hidden_size
    positions = model.max_position_embeddings * model.hidden_size if model.positions == "learned" else 0
    head = 0 if model.tie_word_embeddings else embedding
    width = model.num_attention_heads * model.resolved_head_dim
    keys = model.num_key_value_heads * model.resolved_head_dim
    attention = model.num_hidden_layers * model.hidden_size * (2 * width + 2 * keys)
    parts = {
        "embedding" if head else "embedding, which is the output head as well": embedding,
        "positions": positions,
        "attention": attention,
        "feed-forward": block_parameters(model) - attention,
        "output head": head,
    }
    rest = count_parameters(model) - sum(parts.values())
    return {name: size for name, size in {**parts, "norms, biases and routers": rest}.items() if size}


def dataset_of(stage: StageReport) -> tuple[str, Manifest | None, str]:
    """The name of a stage's dataset, what it is, and why that is not known; all empty where it learned from records."""
    data = stage.config.get("data")
    name = str(data.get("dataset") or "") if isinstance(data, Mapping) else ""
    if not name:
        return "", None, ""
    try:
        return nameless(name), read_manifest(existing("datasets", name)), ""
    except UserError as error:
        return nameless(name), None, str(error)


def records_of(stage: StageReport) -> list[RecordFile]:
    """The files that a stage learned from, and those that it was validated on."""
    data = stage.config.get("data")
    if not isinstance(data, Mapping):
        return []
    return [_record_file(str(name)) for key in ("records", "val_records") for name in data.get(key) or ()]


def _record_file(name: str) -> RecordFile:
    path = Path(name)
    try:
        size = path.stat().st_size if path.is_file() else None
        digest = sha256_of_file(path) if size is not None and size <= _HASHED_BYTES else ""
    except (OSError, UserError):
        size, digest = None, ""
    return RecordFile(nameless(name), size, digest)


def total_parameters(stage: StageReport) -> int | None:
    """Weights of the model."""
    model = stage.model
    return count_parameters(model) if model is not None else stage.summary.parameters
