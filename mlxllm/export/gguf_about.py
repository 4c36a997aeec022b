"""One line about where a model comes from, which a GGUF file carries as its description."""

from mlxllm.data.provenance import StageFacts, data_of
from mlxllm.export.provenance import root_of, stages_of
from mlxllm.model.loading import LoadedModel

MOST_SOURCES = 6
_METHODS = {"pretrain": "pre-trained", "sft": "tuned", "dpo": "aligned"}


def about(loaded: LoadedModel) -> str:
    """The stages with the data of each, its sources and the licences that its documents name; no folder of this machine."""
    stages = [_stage(stage) for stage in stages_of(loaded)]
    if not stages and root_of(loaded):
        return "Exported with mlxllm"
    if not stages:
        stages = [_METHODS.get({"base": "pretrain"}.get(stage, stage), stage) for stage in loaded.history]
    return f"A model of mlxllm: {'; '.join(stages)}"


def _stage(stage: StageFacts) -> str:
    did = _METHODS.get(stage.method, stage.method)
    said = f"{did} on {', '.join(stage.data)}" if stage.data else did
    data = data_of(stage)
    if data is None:
        return said
    by_share = sorted(data.sources, key=lambda source: source.share or 0, reverse=True)
    shares = [f"{source.name} {source.share or 0:.0%}" for source in by_share[:MOST_SOURCES]]
    if len(by_share) > MOST_SOURCES:
        shares.append(f"{len(by_share) - MOST_SOURCES} more")
    licences = sorted({name for source in data.sources for name in source.licences})
    tokens = sum(source.tokens for source in data.sources)
    named = f"licences {', '.join(licences)}" if licences else "licences not known"
    return f"{said} ({tokens:,} tokens: {', '.join(shares)}; {named})"
