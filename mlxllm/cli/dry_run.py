"""`--dry-run` of train, sft and dpo: the resolved settings as a TOML file would have them, and what they cost."""

import json
from typing import TYPE_CHECKING, Any

from mlxllm.cli.progress import part_of

if TYPE_CHECKING:  # pydantic and MLX are imported by the functions
    from mlxllm.config import RunConfig
    from mlxllm.training.plan import Plan


def with_model(config: "RunConfig", model: str | None) -> "RunConfig":
    """The configuration with the shape of the model that --model names."""
    if model is None:
        return config
    from mlxllm.model.loading import load_model  # MLX begins to load here

    return config.with_values(model=load_model(model).config.model_dump())


def checked_tokens(plan: "Plan") -> int | None:
    """Tokens of the dataset to train on, if it is one of tokens.

    Raises:
        DataError: there is not one row of them; training finds that out when it starts.
    """
    from mlxllm.data.shards import TokenDataset
    from mlxllm.training.pretrain import pretrain_task

    data = plan.material.data
    return pretrain_task(plan.config, data).num_tokens if isinstance(data, TokenDataset) else None


def show(config: "RunConfig", train_tokens: int | None, minutes: float | None, json_: bool) -> None:
    """Print settings and costs.

    Args:
        config: resolved.
        train_tokens: of the dataset, None where none is named.
        minutes: what --minutes says; the number of steps is then not known before training.
        json_: as one JSON object.
    """
    from mlxllm.estimate import estimate

    costs = estimate(config)
    shown: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        **costs.as_dict(),
        "dataset_tokens": train_tokens,
    }
    if json_:
        print(json.dumps(shown))
        return
    for section, values in shown["config"].items():
        if not isinstance(values, dict):
            print(f"{section} = {json.dumps(values)}")
            continue
        print(f"\n[{section}]")
        for key, value in values.items():
            print(f"{key} = {json.dumps(value)}")
    print("\n# costs")
    if not config.model.vocab_size:
        print("# the vocabulary's size is not known without --data; embeddings are left out")
    print(f"# parameters          {costs.parameters:,} ({costs.active_parameters:,} used by each token)")
    if config.lora is not None:
        share = 100 * costs.trained_parameters / costs.parameters
        print(f"# trained             {costs.trained_parameters:,}, {share:.2g} % of them")
    # Pairs are as long as they are, rows of conversations are full.
    most = " at most" if config.method == "dpo" else ""
    print(f"# tokens a step       {costs.tokens_per_step:,}{most}")
    if minutes is None:
        of = f", {part_of(costs.tokens, train_tokens, config.method)}" if train_tokens and not most else most
        print(f"# tokens in all       {costs.tokens:,}{of}")
    else:
        print(f"# tokens in all       known once training has measured how many steps {minutes:g} minutes hold")
    print(f"# training memory     {_size(costs.training_bytes)}, estimated")
    print(f"# a checkpoint        {_size(costs.checkpoint_bytes)}")


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
