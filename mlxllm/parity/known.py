"""The comparisons that scripts/parity makes: what each compares, with whom, and the command that runs it again."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from mlxllm.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, where this is one; an installed package has receipts but no scripts."""
_FOLDER = "scripts/parity"


@dataclass(frozen=True)
class Comparison:
    """One thing that can be compared."""

    name: str
    script: str
    """Below scripts/parity."""
    compares: str
    """What with what, in a few words."""
    source: str
    """Whose numbers, and where they come from."""
    options: str = ""
    """Of the script, for this comparison."""
    helpers: tuple[str, ...] = ()
    """Other files below scripts/parity that the numbers depend on."""

    @property
    def command(self) -> str:
        """What runs it and writes its receipt."""
        return " ".join(filter(None, (f"{_FOLDER}/{self.script}", self.options, "--receipt")))

    @property
    def files(self) -> tuple[str, ...]:
        """The script and its helpers, from the top of the checkout."""
        return tuple(f"{_FOLDER}/{name}" for name in (self.script, *self.helpers))


_NANOGPT = "https://github.com/karpathy/nanoGPT"
_TRL = "https://github.com/huggingface/trl"
_MLX_LM = "https://github.com/ml-explore/mlx-lm"

COMPARISONS = (
    Comparison(
        "shakespeare-small",
        "shakespeare.py",
        "Shakespeare by character, 4 layers, 128 wide, 2,000 steps: the published recipe and our preset",
        f"published: validation loss 1.88, {_NANOGPT}, README",
        options="--size small",
    ),
    Comparison(
        "shakespeare-large",
        "shakespeare.py",
        "Shakespeare by character, 6 layers, 384 wide, 5,000 steps: the published recipe and our preset",
        f"published: best validation loss 1.4697, {_NANOGPT}, README",
        options="--size large",
    ),
    Comparison(
        "dpo",
        "dpo.py",
        "DPO with four losses, update by update, and TRL's DPOTrainer on the same batches",
        f"run beside it: TRL, {_TRL}",
        helpers=("peers/trl_dpo.py",),
    ),
    Comparison(
        "trl-curve",
        "trl_curve.py",
        "50 steps of DPO by TRL's own trainer in its own order, on a small random Qwen2, and by ours on the same pairs",
        f"run beside it: TRL, {_TRL}",
        helpers=("peers/trl_curve.py",),
    ),
    Comparison(
        "trl-curve-published",
        "trl_curve.py",
        "50 steps of DPO of Qwen2.5-0.5B-Instruct on ultrafeedback_binarized, seed 42, from the Hub",
        f"published: losses 0.6931, 0.6879, 0.6594, ..., the last ten 0.642, {_TRL}, tests/invariant/references/dpo.json",
        options="--published",
        helpers=("peers/trl_curve.py",),
    ),
    Comparison(
        "sft",
        "sft.py",
        "fine-tuning on packed rows, update by update, and a plain loop of transformers and torch",
        "run beside it: transformers, https://github.com/huggingface/transformers",
        helpers=("peers/transformers_sft.py",),
    ),
    Comparison(
        "mlx-lm-lora",
        "mlx_lm_lora.py",
        "50 steps of LoRA by mlx-lm's own trainer in its own order, and by ours from the same adapters on the same batches",
        f"run beside it: mlx-lm, {_MLX_LM}",
        helpers=("peers/mlx_lm_curve.py",),
    ),
    Comparison(
        "lm-eval",
        "lmeval.py",
        "what each item of six benchmarks gets from our class for lm-eval, and from lm-eval's own on exported weights",
        "run beside it: lm-eval's class for transformers, https://github.com/EleutherAI/lm-evaluation-harness",
        options="--limit 100",
        helpers=("lmeval_tasks.py", "peers/lmeval_hf.py"),
    ),
    Comparison(
        "alignment",
        "alignment.py",
        "held-out pairs before and after DPO of a small model that was pre-trained and tuned before",
        "none published: chance is a reward accuracy of 0.5",
    ),
    Comparison(
        "roundtrip",
        "roundtrip.py",
        "every architecture in from transformers and out again, by every reader that is installed",
        "run beside it: transformers, mlx-lm, PEFT, llama.cpp",
        helpers=("roundtrip_cases.py", "peers/transformers_models.py", "peers/adapted_models.py"),
    ),
)
"""In the order in which they are told."""

BY_NAME = {comparison.name: comparison for comparison in COMPARISONS}


def comparison_called(name: str) -> Comparison:
    """The comparison of that name.

    Raises:
        ConfigError: there is none; the message has the near names.
    """
    if name in BY_NAME:
        return BY_NAME[name]
    near = difflib.get_close_matches(name, BY_NAME, n=3)
    meant = f" (near names: {', '.join(near)})" if near else ""
    raise ConfigError(f"there is no comparison {name!r}{meant}; `mlxllm parity` lists all")
