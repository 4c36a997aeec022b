"""Train by TRL's `DPOTrainer` what a job says, batch by batch; prints what each update and each pair was worth.

Needs torch, transformers and trl, nothing of this project.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import models, pre_tokenizers
from torch.utils.data import SequentialSampler
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

METRICS = ("logps/chosen", "logps/rejected", "rewards/chosen", "rewards/rejected", "rewards/margins")


class Recording(DPOTrainer):
    """The trainer itself; it reads its rows in their order and keeps every number unrounded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: dict[str, list[float]] = {name: [] for name in ("loss", *METRICS)}
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """As it is, with an ear on it."""
        loss = super().compute_loss(*args, **kwargs)
        self.seen["loss"].append(loss.item())
        for name in METRICS:
            self.seen[name].append(self._metrics["train"][name][-1])
        return loss


def words_tokenizer(vocabulary: int, end: int) -> PreTrainedTokenizerFast:
    """Token 17 is the word "<17>": a text of such words has our ids."""
    words = tokenizers.Tokenizer(models.WordLevel({f"<{i}>": i for i in range(vocabulary)}, unk_token="<0>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=f"<{end}>", pad_token="<0>")


def as_text(ids: list[int]) -> str:
    """Words with a space before each."""
    return "".join(f" <{i}>" for i in ids)


def dataset(rows: list[dict[str, list[int]]]) -> Dataset:
    """Pairs as TRL takes them."""
    return Dataset.from_list([{name: as_text(ids) for name, ids in row.items()} for row in rows])


def train(model_path: str, job: dict[str, Any], output: str) -> dict[str, list[float]]:
    """One loss."""
    model, reference = (LlamaForCausalLM.from_pretrained(model_path, dtype=torch.float32) for _ in range(2))
    batches = job["batches"]
    end = batches[0][0]["chosen"][-1]  # every answer ends with it, so TRL adds no end of its own
    arguments = DPOConfig(
        output_dir=output,
        loss_type=[job["loss"]],
        beta=job["beta"],
        label_smoothing=job["label_smoothing"],
        max_length=None,
        per_device_train_batch_size=len(batches[0]),
        max_steps=len(batches),
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        max_grad_norm=job["max_grad_norm"],
        optim="adamw_torch",
        bf16=False,
        activation_checkpointing=False,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Recording(
        model=model,
        ref_model=reference,
        args=arguments,
        train_dataset=dataset([row for batch in batches for row in batch]),
        processing_class=words_tokenizer(model.config.vocab_size, end),
    )
    for row, theirs in zip((r for batch in batches for r in batch), trainer.train_dataset, strict=True):
        for name in ("prompt", "chosen", "rejected"):
            assert theirs[f"{name}_ids"] == row[name], f"TRL has other {name} ids"
    before = scores(trainer, trainer.ref_model, job["pairs"])
    trainer.train()
    assert len(trainer.seen["loss"]) == len(batches)
    return {
        **trainer.seen,
        "reference log-probabilities of each pair": before,
        "log-probabilities of each pair at the end": scores(trainer, trainer.model, job["pairs"]),
    }


def scores(trainer: DPOTrainer, model: Any, pairs: list[dict[str, list[int]]]) -> list[float]:
    """TRL's own log-probabilities of each pair alone, chosen and rejected in turns."""
    found = []
    for pair in pairs:
        batch = trainer.data_collator([{f"{name}_ids": ids for name, ids in pair.items()}])
        found += [side.item() for side in trainer.compute_ref_log_probs(model, batch)]
    return found


def main() -> None:
    """All losses of the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as output:
        losses = {one["loss"]: train(job["model"], one, output) for one in job["jobs"]}
    versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"losses": losses, "versions": versions}))


if __name__ == "__main__":
    main()
