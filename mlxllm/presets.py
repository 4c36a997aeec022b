"""The shipped recipes: a preset is a function; it may derive from another one.

Every preset is a named Hugging Face architecture (Qwen3's unless there is a reason), so that what it trains can leave.
"""

import math
from collections.abc import Callable

from mlxllm.config import DataConfig, DpoConfig, ModelConfig, RunConfig, TrainConfig
from mlxllm.errors import ConfigError

Preset = Callable[[], RunConfig]


def char_tiny() -> RunConfig:
    """Seconds: a 2-layer model for tests and for trying things out."""
    return RunConfig(
        model=_qwen3(width=64, layers=2, heads=2, kv_heads=1, inner=128, context=64),
        data=DataConfig(max_seq_len=32),
        train=_muon(steps=60, batch_size=8, learning_rate=3e-3, eval_every=30, checkpoint_every=30, warmup_steps=5),
    )


def shakespeare_char_cpu() -> RunConfig:
    """Seconds on a laptop's CPU: the small reference set-up (4 layers, 128 wide, context 64, batches of 12), as far as
    its 2000 steps take it. So short a run is learned fastest with little momentum; give a longer one 0.95.
    """
    return RunConfig(
        model=_qwen3(width=128, layers=4, heads=4, kv_heads=4, inner=344, context=64),
        data=DataConfig(max_seq_len=64),
        train=_muon(
            steps=200,
            batch_size=12,
            learning_rate=0.02,
            muon_learning_rate=0.03,
            muon_momentum=0.8,
            schedule="linear",
            warmup_steps=5,
            betas=(0.9, 0.99),
            eval_every=50,
            checkpoint_every=100,
            sample_every=50,
        ),
    )


def shakespeare_char() -> RunConfig:
    """The full reference set-up by character: 6 layers, 384 wide, context 256, batches of 64, dropout 0.2."""
    return RunConfig(
        model=_qwen3(width=384, layers=6, heads=6, kv_heads=6, inner=1024, context=256, dropout=0.2),
        data=DataConfig(max_seq_len=256),
        train=_muon(
            steps=2000,
            batch_size=64,
            learning_rate=2e-3,
            schedule="linear",
            warmup_steps=100,
            betas=(0.9, 0.99),
            eval_every=250,
            checkpoint_every=500,
            sample_every=500,
            early_stop_evals=4,
        ),
    )


def transformer_2017() -> RunConfig:
    """The paper "Attention Is All You Need" as a decoder: sinusoidal positions, LayerNorm after the sublayer, ReLU, AdamW."""
    return RunConfig(
        model=ModelConfig(
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            intermediate_size=1024,
            max_position_embeddings=256,
            positions="sinusoidal",
            norm="layernorm",
            norm_position="post",
            norm_eps=1e-5,
            hidden_act="relu",
            mlp_gated=False,
            attention_bias=False,
            mlp_bias=True,
            dropout=0.1,
        ),
        data=DataConfig(max_seq_len=256),
        train=TrainConfig(
            learning_rate=1e-3,
            schedule="cosine",
            warmup_steps=200,
            betas=(0.9, 0.98),
            eps=1e-9,
            weight_decay=0.0,
            batch_size=16,
            max_steps=2000,
            sample_every=500,
        ),
    )


def gpt2_124m() -> RunConfig:
    """GPT-2 small: learned positions, LayerNorm, GELU, biases, tied head; 124M parameters with its own vocabulary."""
    return RunConfig(
        model=ModelConfig(
            hidden_size=768,
            num_hidden_layers=12,
            num_attention_heads=12,
            num_key_value_heads=12,
            intermediate_size=3072,
            max_position_embeddings=1024,
            positions="learned",
            norm="layernorm",
            norm_eps=1e-5,
            hidden_act="gelu_new",
            mlp_gated=False,
            attention_bias=True,
            attention_out_bias=True,
            mlp_bias=True,
        ),
        data=DataConfig(max_seq_len=1024),
        train=TrainConfig(
            learning_rate=6e-4,
            schedule="cosine",
            min_lr_ratio=0.1,
            warmup_steps=700,
            batch_size=4,
            grad_accum_steps=32,
            max_steps=20_000,
            eval_every=500,
            checkpoint_every=500,
            sample_every=500,
        ),
    )


def small_10m() -> RunConfig:
    """10M parameters: an evening on a MacBook, on a few million words."""
    return RunConfig(
        model=_qwen3(width=320, layers=6, heads=5, kv_heads=5, inner=864, context=512),
        data=DataConfig(max_seq_len=512),
        train=_muon(
            steps=4000,
            batch_size=16,
            learning_rate=2e-3,
            warmup_steps=100,
            eval_every=250,
            checkpoint_every=500,
            sample_every=500,
        ),
    )


def story_30m() -> RunConfig:
    """30M parameters: a night on a MacBook, on stories."""
    return RunConfig(
        model=_qwen3(width=512, layers=8, heads=8, kv_heads=4, inner=1408, context=512),
        data=DataConfig(max_seq_len=512),
        train=_muon(
            steps=10_000,
            batch_size=32,
            learning_rate=1.5e-3,
            warmup_steps=200,
            eval_every=500,
            checkpoint_every=500,
            sample_every=500,
        ),
    )


def base_124m() -> RunConfig:
    """The size of GPT-2 small in today's form: 124M parameters, for days on a Mac with much memory."""
    return RunConfig(
        model=_qwen3(width=768, layers=12, heads=12, kv_heads=4, inner=2048, context=1024),
        data=DataConfig(max_seq_len=1024),
        train=_muon(
            steps=20_000,
            batch_size=8,
            grad_accum_steps=16,
            learning_rate=1e-3,
            warmup_steps=300,
            eval_every=500,
            checkpoint_every=500,
            sample_every=500,
        ),
    )


def moe_small() -> RunConfig:
    """A mixture of 8 experts, 2 a token (Qwen3-MoE): more parameters than each token pays for."""
    base = small_10m()
    return base.with_values(
        model={"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 432},
        train={"muon_learning_rate": 0.02},
    )


PRESETS: dict[str, Preset] = {
    "char-tiny": char_tiny,
    "shakespeare-char-cpu": shakespeare_char_cpu,
    "shakespeare-char": shakespeare_char,
    "transformer-2017": transformer_2017,
    "gpt2-124m": gpt2_124m,
    "small-10m": small_10m,
    "story-30m": story_30m,
    "base-124m": base_124m,
    "moe-small": moe_small,
}
"""All presets, smallest first."""


def _tuning(*, learning_rate: float, batch_size: int, epochs: float) -> TrainConfig:
    """What the fine-tuning recipes share: AdamW, a short warm-up, then down to nothing; no weight decay."""
    return TrainConfig(
        learning_rate=learning_rate,
        schedule="linear",
        warmup_steps=10,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        batch_size=batch_size,
        epochs=epochs,
        eval_every=50,
        checkpoint_every=100,
    )


def sft() -> RunConfig:
    """Supervised fine-tuning of all weights: three passes through packed conversations."""
    return RunConfig(
        method="sft",
        data=DataConfig(max_seq_len=512),
        train=_tuning(learning_rate=5e-5, batch_size=4, epochs=3),
    )


def sft_lora() -> RunConfig:
    """The same with adapters, which bear a higher learning rate."""
    return sft().with_values(lora={}, train={"learning_rate": 2e-4})


def dpo() -> RunConfig:
    """Direct preference optimisation of all weights: one pass through the pairs."""
    return RunConfig(
        method="dpo",
        data=DataConfig(max_seq_len=512),
        train=_tuning(learning_rate=5e-6, batch_size=4, epochs=1),
        dpo=DpoConfig(),
    )


def dpo_lora() -> RunConfig:
    """The same with adapters; the reference is the model without them."""
    return dpo().with_values(lora={}, train={"learning_rate": 5e-5})


TUNING_PRESETS: dict[str, Preset] = {"sft": sft, "sft-lora": sft_lora, "dpo": dpo, "dpo-lora": dpo_lora}
"""What `sft` and `dpo` begin with; the model's shape comes from the model."""


ENOUGH_STEPS = 10
"""Fewer change next to nothing. At the rate of small models so many are plenty: DPO of four pairs comes to a margin of 6,
and twice as many hurt the text."""
FEW_RECORDS_EPOCHS = 20
"""Times through few records at most."""
SMALL_MODEL_RATES = {"sft": 1e-3, "dpo": 1e-4}
"""Learning rates (of AdamW) at which models of a few million weights change within some dozen updates."""


def enough_epochs(share: float) -> int:
    """Times through few records until a model has changed, where one update takes this share of them."""
    return min(FEW_RECORDS_EPOCHS, math.ceil(round(ENOUGH_STEPS * share, 6)))


def few_steps_hint(method: str, steps: int, passes: float) -> str:
    """What to do where records are so few that their epochs are over before anything has changed; "" where they are not.

    Args:
        method: sft or dpo.
        steps: updates, at least one.
        passes: times through the records in so many.
    """
    if steps >= ENOUGH_STEPS:
        return ""
    updates = "1 update changes" if steps == 1 else f"{steps} updates change"
    return (
        f"{updates} next to nothing; with so few records give --epochs {enough_epochs(passes / steps)}, and to a small "
        f"model --learning-rate {SMALL_MODEL_RATES[method]:g}, too"
    )


def preset_config(name: str) -> RunConfig:
    """The configuration of a preset.

    Raises:
        ConfigError: there is no such preset; the message lists those that there are.
    """
    known = {**PRESETS, **TUNING_PRESETS}
    if name not in list(known):  # a list takes anything that a TOML file may hold
        raise ConfigError(f"preset {name!r} does not exist; there are {', '.join(known)}")
    return known[name]().model_copy(update={"preset": name})


def _qwen3(
    *, width: int, layers: int, heads: int, kv_heads: int, inner: int, context: int, dropout: float = 0.0
) -> ModelConfig:
    """Today's block: rotary positions, RMSNorm before the sublayer, SwiGLU, normalised queries and keys."""
    return ModelConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=width // heads,
        intermediate_size=inner,
        max_position_embeddings=context,
        qk_norm=True,
        dropout=dropout,
        zero_init_outputs=True,
    )


def _muon(*, steps: int, batch_size: int, learning_rate: float, **more: object) -> TrainConfig:
    """Muon for the matrices, AdamW for the rest."""
    values = {"optimizer": "muon", "max_steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, **more}
    return TrainConfig.model_validate(values)
