"""The shipped ablations: lists of changes, small enough to be read, that can be made in any base.

Learning rates are those of small models (a few million weights or fewer).
"""

from dataclasses import dataclass

from mlxllm.errors import ConfigError


@dataclass(frozen=True)
class Shipped:
    """A list of changes by name."""

    about: str
    changes: tuple[str, ...]
    """As `--change` takes them."""
    together: str = ""
    """The name of one more variant, which has all of the changes at once; "" for none."""
    preset: str = "shakespeare-char-cpu"
    """The base, where none is named."""

    @property
    def all_changes(self) -> tuple[str, ...]:
        """The changes, one by one and then together."""
        if not self.together:
            return self.changes
        bodies = (change.partition(":")[2].strip() for change in self.changes)
        return (*self.changes, f"{self.together}: {','.join(bodies)}")


SHIPPED: dict[str, Shipped] = {
    "transformer-2017": Shipped(
        "today's block with each idea since 2017 taken back, one by one and all together (the schedule stays)",
        (
            "multi-head: attention=mha",
            "sinusoidal: positions=sinusoidal",
            "layer-norm: norm=layer,model.norm_eps=1e-5",
            "post-norm: norm=post",
            "no-qk-norm: qk_norm=off",
            "relu: ffn=relu,model.mlp_bias=true",
            "no-zero-init: model.zero_init_outputs=false",
            "dropout: model.dropout=0.1",
            "adam: optimizer=adamw,train.learning_rate=1e-3,train.betas=[0.9,0.98],train.eps=1e-9,train.weight_decay=0,"
            "train.warmup_steps=20",
        ),
        together="all-of-2017",
    ),
    "positions": Shipped(
        "how a token knows where it stands: rotary positions against the older ways, and none",
        ("positions=learned", "positions=sinusoidal", "positions=none"),
    ),
    "optimizer": Shipped(
        "Muon against AdamW and Lion, each with three learning rates, since a comparison with one is one of rates",
        (
            *(f"adamw-{rate}: optimizer=adamw,train.learning_rate={rate}" for rate in ("2e-3", "4e-3", "8e-3")),
            *(f"lion-{rate}: optimizer=lion,train.learning_rate={rate}" for rate in ("3e-4", "6e-4", "1.2e-3")),
        ),
    ),
    "feed-forward": Shipped(
        "SwiGLU against feed-forwards without a gate, with as many weights",
        ("ffn=gelu", "ffn=relu", "ffn=relu2"),
    ),
    "attention": Shipped(
        "keys and values for every head against fewer of them",
        ("attention=mha", "attention=gqa", "attention=mqa"),
    ),
}
"""By name."""


def shipped_called(name: str) -> Shipped:
    """The shipped ablation of this name.

    Raises:
        ConfigError: there is none; the message lists them.
    """
    if name not in SHIPPED:
        raise ConfigError(
            f"there is no shipped ablation {name!r}; there are {', '.join(SHIPPED)} (`mlxllm ablate --list`), and --change "
            f"makes one of your own"
        )
    return SHIPPED[name]
