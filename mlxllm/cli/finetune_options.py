"""The options of `mlxllm sft` and `mlxllm dpo`, and the settings that they stand for."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mlxllm.cli.help import SETTINGS, check_choice, setting
from mlxllm.errors import ConfigError

ADAPTERS = "Adapters (one of these switches them on; without, all weights are trained)"

Model = Annotated[
    str,
    typer.Option(
        metavar="M",
        help="What to begin with: a run (RUN, RUN@STEP, RUN@best), a folder with a model, or OWNER/NAME[@REVISION] of "
        "the Hub.",
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Merge this adapter into the model first: a folder of ours, mlx-lm's or PEFT's, or a run that trained one.",
    ),
]
Records = Annotated[
    list[str],
    typer.Option("--data", metavar="FILES", help="A file, a folder or owner/name on the Hub; may be repeated."),
]
ValRecords = Annotated[
    list[str] | None, typer.Option("--val-data", metavar="FILES", help="The same, held out for validation.")
]
Run = Annotated[str | None, typer.Option(metavar="RUN", help="Name of the new run; by default made from the model's.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML file of settings.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any one setting; may be repeated. --dry-run shows all."),
]
Dry = Annotated[
    bool, typer.Option("--dry-run", help="Check everything that training would, and show settings and costs.")
]
ValSplit = Annotated[
    float | None,
    setting("data.val_split", "X", "Hold out this share of the records for validation, if --val-data names none."),
]
TrainOn = Annotated[
    str | None,
    setting(
        "data.train_on",
        "NAME",
        "Which tokens are learned: every answer, the last one, all tokens, or the answers behind the prompt with all that "
        "the template closes them with.",
    ),
]
Epochs = Annotated[float | None, setting("train.epochs", "X", "How many times to go through the records.")]
MaxSteps = Annotated[
    int | None, typer.Option(metavar="N", help="Updates in all, in place of --epochs.", rich_help_panel=SETTINGS)
]
Accumulation = Annotated[int | None, setting("train.grad_accum_steps", "N")]
LearningRate = Annotated[float | None, setting("train.learning_rate", "X", "Peak learning rate, after the warm-up.")]
Optimizer = Annotated[str | None, setting("train.optimizer", "NAME")]
Schedule = Annotated[str | None, setting("train.schedule", "NAME")]
Seed = Annotated[int | None, setting("train.seed", "N", "Decides the order of records, dropout and adapters.")]
LoraRank = Annotated[int | None, setting("lora.rank", "N", panel=ADAPTERS)]
LoraAlpha = Annotated[
    float | None, setting("lora.alpha", "X", "Scale of the update: alpha / rank multiplies it.", panel=ADAPTERS)
]
LoraLayers = Annotated[int | None, setting("lora.layers", "N", panel=ADAPTERS)]
LoraTargets = Annotated[
    str | None,
    setting(
        "lora.targets",
        "NAMES",
        "Matrices that get an adapter, separated by commas: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
        "down_proj, or all.",
        panel=ADAPTERS,
    ),
]
LoraDropout = Annotated[float | None, setting("lora.dropout", "X", panel=ADAPTERS)]
Dora = Annotated[
    bool,
    typer.Option(
        "--dora", help="Train the length of each row of a matrix as well (arXiv:2402.09353).", rich_help_panel=ADAPTERS
    ),
]
RsLora = Annotated[
    bool,
    typer.Option(
        "--rslora",
        help="Scale by alpha / sqrt(rank), so that a high rank learns as fast as a low one (arXiv:2312.03732).",
        rich_help_panel=ADAPTERS,
    ),
]
Quantize = Annotated[
    str | None,
    setting(
        "lora.quantize",
        "NAME",
        "QLoRA: hold the frozen matrices of the blocks in 4 or 8 bits (arXiv:2305.14314).",
        panel=ADAPTERS,
    ),
]

FLAGS = {
    "val_split": "data.val_split",
    "train_on": "data.train_on",
    "max_seq_len": "data.max_seq_len",
    "epochs": "train.epochs",
    "max_steps": "train.max_steps",
    "batch_size": "train.batch_size",
    "grad_accum_steps": "train.grad_accum_steps",
    "learning_rate": "train.learning_rate",
    "optimizer": "train.optimizer",
    "schedule": "train.schedule",
    "seed": "train.seed",
    "loss": "dpo.loss",
    "beta": "dpo.beta",
    "label_smoothing": "dpo.label_smoothing",
    "gamma": "dpo.gamma",
    "sft_weight": "dpo.sft_weight",
    "lora_rank": "lora.rank",
    "lora_alpha": "lora.alpha",
    "lora_layers": "lora.layers",
    "lora_targets": "lora.targets",
    "lora_dropout": "lora.dropout",
    "rslora": "lora.rslora",
    "quantize": "lora.quantize",
}
"""Option -> setting. `--dora` is lora.method, too."""


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Setting -> value of the options that were given.

    Raises:
        ConfigError: one cannot be; the message has the option, the value and what would be right.
    """
    from pydantic import ValidationError  # loaded by the command, not by --help

    from mlxllm.config import DataConfig, DpoConfig, LoraConfig, Section, TrainConfig

    sections: dict[str, type[Section]] = {
        "data": DataConfig,
        "train": TrainConfig,
        "dpo": DpoConfig,
        "lora": LoraConfig,
    }
    flags: dict[str, Any] = {"lora.method": "dora"} if options["dora"] else {}
    for name, key in FLAGS.items():
        value = options.get(name)
        if value is None or value is False:
            continue
        section, _, field = key.partition(".")
        option = f"--{name.replace('_', '-')}"
        check_choice(option, key, value)
        try:
            sections[section].model_validate({field: value})
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "value_error":
                raise ConfigError(f"{option} {value}: {first['ctx']['error']}") from None
            raise ConfigError(f"{option} is {value:g}; {first['msg'].replace('Input should', 'it should')}") from None
        flags[key] = value
    return flags
