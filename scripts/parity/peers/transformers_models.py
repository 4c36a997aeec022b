"""Small random models and a tokenizer as transformers saves them, and what it makes of them itself.

Needs torch and transformers, nothing of this project. Prints {case: {ids, prompt_ids, greedy, version}}; the logits lie
beside each folder as NAME.npy.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def tokenizer_of(texts: list[str]) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE of 400 pieces."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|endoftext|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def main() -> None:
    """One model a case."""
    job = json.loads(Path(sys.argv[1]).read_text())
    transformers.logging.set_verbosity_error()
    made, told = tokenizer_of(job["texts"]), {}
    for name, (kind, values) in job["cases"].items():
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(vocab_size=len(made), **values)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        with torch.no_grad():  # biases and norms start at 0 and 1, where a swapped one would not show
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        folder = Path(job["folder"]) / name
        model.save_pretrained(folder)
        made.save_pretrained(folder)
        # Some classes (Qwen2's) add a normaliser of their own when they open it: what they then save is what they read.
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.save_pretrained(folder)
        prompt = tokenizer(job["prompt"])["input_ids"]
        sequence = [i for text in job["texts"] for i in tokenizer(text)["input_ids"]][: job["positions"]]
        with torch.no_grad():
            np.save(folder.with_suffix(".npy"), model(torch.tensor([sequence])).logits[0].numpy())
            model.generation_config = transformers.GenerationConfig(do_sample=False)
            ids = torch.tensor([prompt])
            written = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=job["max_tokens"], pad_token_id=0
            )
        told[name] = {
            "ids": [tokenizer(text)["input_ids"] for text in job["texts"]],
            "prompt_ids": prompt,
            "sequence": sequence,
            "greedy": written[0, len(prompt) :].tolist(),
            "version": transformers.__version__,
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
