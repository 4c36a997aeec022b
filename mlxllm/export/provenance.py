"""The runs that made a model that is loaded, and what the first of them began with."""

from pathlib import Path

from mlxllm.data.provenance import StageFacts, nameless, stage_facts
from mlxllm.errors import UserError
from mlxllm.export.hf_files import CONFIG_FILE, OURS
from mlxllm.export.tokenizers import is_own
from mlxllm.model.loading import LoadedModel
from mlxllm.model.naming import is_run
from mlxllm.model.weight_files import read_object
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.lineage import Stage, ancestors, run_settings


def stages_of(loaded: LoadedModel) -> list[StageFacts]:
    """The stages that made a run's model, the first one first; none for a folder."""
    chain = _runs(loaded)
    steps = [*(stage.step for stage in chain[:-1]), loaded.step]
    base = nameless(root_of(loaded))
    return [
        stage_facts(stage, step, base if stage is chain[0] else "")
        for stage, step in zip(chain, steps, strict=bool(chain))
    ]


def root_of(loaded: LoadedModel) -> str:
    """What the first stage of a model began with: a folder, or a model of the Hub; empty for fresh weights.

    Of a folder with somebody else's tokenizer it is the folder itself.
    """
    if loaded.step is None:
        return "" if is_own(loaded.tokenizer) or _exported_before(loaded.path) else loaded.name
    first = _runs(loaded)[0].run
    return str(run_settings(first).get("base_model") or "")


def original_of(loaded: LoadedModel) -> Path | None:
    """Where a tokenizer came from that is somebody else's; None for one of ours."""
    if is_own(loaded.tokenizer):
        return None
    if loaded.step is None:
        return loaded.path
    base = root_of(loaded)
    return Path(base) if base and (Path(base) / CONFIG_FILE).is_file() else loaded.tokenizer_directory


def _exported_before(folder: Path) -> bool:
    try:
        return OURS in read_object(folder / CONFIG_FILE)
    except UserError:
        return False


def _runs(loaded: LoadedModel) -> list[Stage]:
    """The stages that are runs: the chain may begin with a folder."""
    if loaded.step is None:
        return []
    chain = ancestors(RunDirectory(loaded.path.parent.parent))
    return [stage for stage in chain if stage is chain[-1] or is_run(stage.run.path)]
