"""The model card: what the model is, what it was made from, how good it is and how it is opened.

It holds names and numbers, no folder of the machine it was written on, and no time: equal models give equal cards.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlxllm.data.provenance import DataFacts, StageFacts, data_of, hub_name, nameless
from mlxllm.export.provenance import root_of, stages_of
from mlxllm.export.readers.limits import why_not, window_in_mlx_lm
from mlxllm.export.tokenizers import is_own
from mlxllm.model.hf_folder import parse_hf_config
from mlxllm.model.loading import LoadedModel

_METHODS = {"pretrain": "pre-training", "sft": "fine-tuning on conversations", "dpo": "preferences"}


def model_card(loaded: LoadedModel, raw: Mapping[str, Any], size: int) -> str:
    """README.md of an export.

    Args:
        loaded: the model.
        raw: its config.json.
        size: bytes of its weights.
    """
    stages = stages_of(loaded)
    base = nameless(root_of(loaded)).partition("@")[0]
    lines = [
        *_header(loaded, raw, base),
        "",
        f"# {title(loaded)}",
        "",
        *_shape(loaded, raw, size, base),
        *_use(loaded, raw),
        *_training(stages),
        *_data(stages),
        *_limits(loaded),
        *_licence(stages, base),
    ]
    return "\n".join(lines) + "\n"


def title(loaded: LoadedModel) -> str:
    """What the model is called, without the folder that it lies in."""
    name = hub_name(loaded.name) or loaded.name
    return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or "model"


def bytes_text(size: float) -> str:
    """`1.2 GB`."""
    power = min(4, max(1, (len(str(int(size))) - 1) // 3))
    return f"{size / 1000**power:,.1f} {'kMGT'[power - 1]}B"


def _header(loaded: LoadedModel, raw: Mapping[str, Any], base: str) -> Iterator[str]:
    """YAML that the Hub reads; every value is a JSON string, which YAML takes as it is."""
    yield "---"
    yield f"library_name: {'mlx' if 'quantization' in raw else 'transformers'}"
    yield "pipeline_tag: text-generation"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("mlx", "mlxllm", *(["conversational"] if loaded.kind != "base" else [])))
    if (name := hub_name(base or loaded.name)) is not None:
        yield f"base_model: {json.dumps(name)}"
    yield "license: other"
    yield "license_name: see-below"
    yield "---"


def _shape(loaded: LoadedModel, raw: Mapping[str, Any], size: int, base: str) -> Iterator[str]:
    config, tokenizer = loaded.config, loaded.tokenizer
    kinds = {"char": "characters", "byte": "bytes", "bpe": "byte-pair encoding (SentencePiece, byte fallback)"}
    how = kinds.get(tokenizer.kind, "as its base model has it")
    made = "continues texts" if loaded.kind == "base" else "answers in conversations"
    quantised = raw.get("quantization")
    weights = f"{quantised.get('bits')} bits ({quantised.get('mode', 'affine')})" if quantised else raw.get("dtype")
    theirs = not is_own(loaded.tokenizer)
    did = "trained" if not theirs else "exported" if loaded.step is None else "tuned"
    yield f"A language model that {made}, {did} with mlxllm."
    yield ""
    yield "| | |"
    yield "|---|---|"
    if base:
        yield f"| base model | {base.replace('|', '/')} |"
    yield f"| architecture | {raw['architectures'][0]} |"
    yield f"| layers, width | {config.num_hidden_layers}, {config.hidden_size} |"
    yield f"| heads (queries, keys and values) | {config.num_attention_heads}, {config.num_key_value_heads} |"
    if config.num_experts:
        yield f"| experts, used for a token | {config.num_experts}, {config.num_experts_per_tok} |"
    yield f"| context | {config.max_position_embeddings:,} tokens |"
    yield f"| tokenizer | {tokenizer.vocab_size:,} ids, {how} |"
    yield f"| weights | {weights}, {bytes_text(size)} |"
    yield ""


def _use(loaded: LoadedModel, raw: Mapping[str, Any]) -> Iterator[str]:
    """How it is opened, by each library that computes it rightly; what is to be said of the others."""
    config, own = parse_hf_config(raw), is_own(loaded.tokenizer)
    barred = {
        reader: reason
        for reader in ("transformers", "mlx-lm")
        if (reason := why_not(reader, config, raw, own_tokenizer=own, packed="quantization" in raw))
    }
    yield "## How to open it"
    yield ""
    if "transformers" not in barred:
        yield "```python"
        yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
        yield ""
        yield 'tokenizer = AutoTokenizer.from_pretrained("DIR")'
        yield 'model = AutoModelForCausalLM.from_pretrained("DIR")'
        yield "```"
        yield ""
    yield "```sh"
    if loaded.kind == "base":
        if "mlx-lm" not in barred:
            yield 'mlx_lm.generate --model DIR --ignore-chat-template --prompt "Once upon a time"'
        yield 'mlxllm sample --model ./DIR --prompt "Once upon a time"'
    else:
        if "mlx-lm" not in barred:
            yield 'mlx_lm.generate --model DIR --prompt "Who are you?"'
        yield "mlxllm chat --model ./DIR"
    yield "```"
    yield ""
    for reader, reason in barred.items():
        yield f"Not with {reader}: {reason}."
        yield ""
    if "mlx-lm" not in barred and (window := window_in_mlx_lm(config)) is not None:
        yield (
            f"This model has a sliding window. mlx-lm attends to everything before, so it is right up to {window:,} tokens, "
            f"prompt and answer together, and not beyond."
        )
        yield ""


def _training(stages: Sequence[StageFacts]) -> Iterator[str]:
    if not stages:
        return
    yield "## How it was made"
    yield ""
    yield "| stage | data | steps | tokens | validation loss | bits a byte |"
    yield "|---|---|---|---|---|---|"
    for stage in stages:
        cells = (
            _METHODS.get(stage.method, stage.method),
            ", ".join(stage.data) or "-",
            f"{stage.steps:,}" if stage.steps is not None else "-",
            f"{stage.tokens:,}" if stage.tokens is not None else "-",
            f"{stage.val_loss:.4f}" if stage.val_loss is not None else "-",
            f"{stage.bits_per_byte:.4f}" if stage.bits_per_byte is not None else "-",
        )
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
    yield ""
    yield "Validation loss is in nats a token, at the last validation of each stage, on text that it was not trained on."
    if stages[0].base_model:
        yield f"The first stage began with {stages[0].base_model}."
    yield ""
    for stage in stages:
        settings = ", ".join(f"{name} {value}" for name, value in stage.settings.items())
        yield f"- {_METHODS.get(stage.method, stage.method)}: {settings}"
    yield ""


def _data(stages: Sequence[StageFacts]) -> Iterator[str]:
    found = [(stage, data) for stage in stages if (data := data_of(stage)) is not None]
    if not found:
        return
    yield "## Data"
    yield ""
    yield "| source | documents | tokens | share | licences |"
    yield "|---|---|---|---|---|"
    for _, data in found:
        for source in data.sources:
            share = f"{source.share:.1%}" if source.share is not None else "-"
            licences = ", ".join(source.licences) or "not known"
            yield f"| {source.name} | {source.documents:,} | {source.tokens:,} | {share} | {licences.replace('|', '/')} |"
    yield ""
    yield from _cautions([data for _, data in found])


def _cautions(found: Sequence[DataFacts]) -> Iterator[str]:
    cautions = list(dict.fromkeys(text for data in found for text in data.cautions))
    if cautions:
        yield from (f"- {text}" for text in cautions)
        yield ""


def _limits(loaded: LoadedModel) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield (
        "It writes what is likely after its training text, true or not, and it can repeat what it has read. Nothing was done "
        "to keep it from harmful text."
    )
    if is_own(loaded.tokenizer):
        yield (
            "A text that spells one of its special tokens, such as `<|end|>`, gives that token in transformers and mlx-lm; "
            "mlxllm takes it for text."
        )
    yield ""


def _licence(stages: Sequence[StageFacts], base: str) -> Iterator[str]:
    yield "## Licence"
    yield ""
    named = sorted(
        {name for stage in stages if (d := data_of(stage)) for source in d.sources for name in source.licences}
    )
    yield "No licence is given by the export itself."
    if base:
        yield f"The licence of the base model, {base}, holds for these weights as well."
    if stages or not base:
        told = f", whose documents name these licences: {', '.join(named)}." if named else "; see the sources above."
        yield f"What may be done with the weights depends on the data{' too' if base else ''}{told}"
