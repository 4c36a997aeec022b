"""Train by TRL's `DPOTrainer` as TRL's command line does, in its own order; prints each update's loss and its pairs as ids.

Needs torch, transformers, datasets and trl, nothing of this project. For `make` it first writes a small random Qwen2 with a
tokenizer and a chat template.
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
from datasets import Dataset, load_dataset
from trl import DPOConfig, DPOTrainer

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, which the real model's template comes down to without a system message."""


class Recording(DPOTrainer):
    """The trainer itself, with an ear on what it reads and what that was worth."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.losses: list[float] = []
        self.batches: list[list[dict[str, list[int]]]] = []
        super().__init__(*args, **kwargs)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As it is."""
        self.batches.append(pairs_of(inputs, self.args.max_length))
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        self.losses.append(loss.item())
        return loss


def pairs_of(inputs: dict[str, Any], longest: int | None) -> list[dict[str, list[int]]]:
    """A collated batch, in which the chosen answers come first, as the ids of prompts and answers within `longest`."""
    sides = []
    for ids, mask, answer in zip(inputs["input_ids"], inputs["attention_mask"], inputs["completion_mask"], strict=True):
        row = list(zip(ids[mask.bool()].tolist(), answer[mask.bool()].tolist(), strict=True))[:longest]
        sides.append(([i for i, a in row if not a], [i for i, a in row if a]))
    half = len(sides) // 2
    found = []
    for (prompt, chosen), (other, rejected) in zip(sides[:half], sides[half:], strict=True):
        assert prompt == other, "the two sides of a pair have different prompts"
        found.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return found


def make_model(folder: Path, texts: list[str], shape: dict[str, Any]) -> None:
    """A random Qwen2 with a byte-level BPE of the texts."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=SPECIAL,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    transformers.Qwen2ForCausalLM(transformers.Qwen2Config(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """One run."""
    job = json.loads(Path(sys.argv[1]).read_text())
    transformers.utils.logging.set_verbosity_error()
    if job["records"] is not None:
        data = Dataset.from_list(json.loads(Path(job["records"]).read_text()))
    else:
        data = load_dataset(job["data"], split="train")
    if job["make"] is not None:
        texts = [turn["content"] for row in data for turn in (*row["chosen"], *row["rejected"])]
        make_model(Path(job["model"]), texts, job["make"])
    options = {"attn_implementation": "eager"} | ({"revision": job["revision"]} if job["revision"] else {})
    with tempfile.TemporaryDirectory() as output:
        arguments = DPOConfig(
            output_dir=output,
            model_init_kwargs=options,
            max_steps=job["steps"],
            max_length=job["max_length"],
            learning_rate=job["learning_rate"],
            seed=job["seed"],
            data_seed=job["seed"],
            full_determinism=True,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Recording(model=job["model"], args=arguments, train_dataset=data)
        trainer.train()
    told = {
        "losses": trainer.losses,
        "batches": trainer.batches,
        "rate": arguments.learning_rate,
        "rows": arguments.per_device_train_batch_size,
        "beta": arguments.beta,
        "max_grad_norm": arguments.max_grad_norm,
        "betas": [arguments.adam_beta1, arguments.adam_beta2],
        "eps": arguments.adam_epsilon,
        "weight_decay": arguments.weight_decay,
        "schedule": str(arguments.lr_scheduler_type.value),
        "warmup": arguments.warmup_steps,
        "versions": {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
