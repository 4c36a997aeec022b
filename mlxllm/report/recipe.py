"""The parts of a report about a model's shape and its settings."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlxllm.config import RunConfig
from mlxllm.report.blocks import Block, Fold, Section, Table, Text
from mlxllm.report.stages import StageReport, parameters_by_part, total_parameters
from mlxllm.report.words import count, short_count
from mlxllm.runs import differences, flat

_NOT_A_SETTING = ("preset", "method", "base_fingerprint")


def model_section(stage: StageReport) -> list[Block]:
    """Shape and parameters."""
    model = stage.model
    if model is None:
        size = total_parameters(stage)
        return [Text(f"Its settings cannot be read{f'; it has {count(size)} weights' if size else ''}.")]
    feed_forward = (
        f"{model.num_experts} experts of {model.moe_intermediate_size:,}, {model.num_experts_per_tok} for each token"
        if model.num_experts
        else f"{model.intermediate_size:,}{', gated' if model.mlp_gated else ''} ({model.hidden_act})"
    )
    shape = [
        ["layers", count(model.num_hidden_layers)],
        ["width", count(model.hidden_size)],
        ["heads (queries, keys and values)", f"{model.num_attention_heads}, {model.num_key_value_heads}"],
        ["width of a head", count(model.resolved_head_dim)],
        ["feed-forward", feed_forward],
        ["norm", f"{model.norm}, {model.norm_position}{', queries and keys as well' if model.qk_norm else ''}"],
        ["positions", f"{model.positions}, up to {model.max_position_embeddings:,}"],
        ["vocabulary", count(model.vocab_size)],
    ]
    parts = parameters_by_part(model)
    total = sum(parts.values())
    rows = [[name, count(number), f"{100 * number / total:.1f} %"] for name, number in parts.items()]
    blocks: list[Block] = [
        Table(["shape", ""], shape),
        Table(["weights of", "number", "share"], [*rows, ["all", count(total), "100 %"]]),
    ]
    trained = stage.summary.trained_parameters
    if trained is not None and trained < total:
        blocks.append(
            Text(f"An adapter of {short_count(trained)} weights was trained on it; the others stayed as they were.")
        )
    return blocks


def recipe_sections(stages: Sequence[StageReport]) -> list[Block]:
    """Of each stage the settings that are not as usual, and all of them folded."""
    usual = RunConfig().model_dump(mode="json")
    blocks: list[Block] = []
    for stage in stages:
        if not stage.config:
            blocks.append(Section(stage.name, [Text("Its settings cannot be read.")]))
            continue
        shaped = {key: value for key, value in stage.config.items() if key not in _NOT_A_SETTING and key != "model"}
        differing = differences([{k: v for k, v in usual.items() if k in shaped}, shaped])
        rows = [
            [key, spelled(both[1]), spelled(both[0]) if 0 in both else "–"]
            for key, both in differing.items()
            if 1 in both
        ]
        everything = [[key, spelled(value)] for key, value in flat(stage.config).items()]
        preset = f", preset {stage.config['preset']}" if stage.config.get("preset") else ""
        blocks.append(
            Section(
                f"{stage.name}: {stage.method}{preset}",
                [
                    Table(["setting", "here", "by default"], rows) if rows else Text("All as by default."),
                    Fold(f"All {len(everything)} settings", [Table(["setting", "value"], everything)]),
                ],
            )
        )
    return blocks


def differing_table(configs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table | None:
    """The settings in which runs differ; None where they are the same."""
    found = differences(configs)
    rows = [[key, *(spelled(at[n]) if n in at else "–" for n in range(len(configs)))] for key, at in found.items()]
    return Table(["setting", *names], rows) if rows else None


def spelled(value: Any) -> str:
    """A setting's value."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
