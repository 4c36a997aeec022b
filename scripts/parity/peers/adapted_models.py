"""What PEFT and mlx-lm make of an adapter on its base: logits and greedy tokens.

Needs peft with torch and transformers, or mlx-lm, nothing of this project. Prints {case: {greedy, version}}; the logits
lie beside each adapter as NAME.npy.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np


def by_peft(case: dict, job: dict) -> tuple[np.ndarray, list[int]]:
    """PyTorch in float32."""
    import torch
    import transformers
    from peft import PeftModel

    base = transformers.AutoModelForCausalLM.from_pretrained(case["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, case["adapter"]).eval()
    base.generation_config = transformers.GenerationConfig(do_sample=False)
    with torch.no_grad():
        logits = model(torch.tensor([job["sequence"]])).logits[0].numpy()
        ids = torch.tensor([job["prompt_ids"]])
        settings = {"max_new_tokens": job["max_tokens"], "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
        written = model.generate(input_ids=ids, **settings)
    return logits, written[0, len(job["prompt_ids"]) :].tolist()


def by_mlx_lm(case: dict, job: dict) -> tuple[np.ndarray, list[int]]:
    """On the CPU."""
    import mlx.core as mx
    import mlx_lm
    from mlx_lm.generate import generate_step

    mx.set_default_device(mx.cpu)
    model, _ = mlx_lm.load(case["base"], adapter_path=case["adapter"])
    logits = np.array(model(mx.array([job["sequence"]]))[0])
    steps = generate_step(mx.array(job["prompt_ids"]), model, max_tokens=job["max_tokens"])
    return logits, [int(token) for token, _ in steps]


READERS = {"peft": by_peft, "mlx-lm": by_mlx_lm}


def main() -> None:
    """One adapter a case."""
    job, told = json.loads(Path(sys.argv[1]).read_text()), {}
    for name, case in job["cases"].items():
        logits, greedy = READERS[case["reader"]](case, job)
        np.save(f"{case['adapter']}.npy", logits)
        told[name] = {"greedy": greedy, "version": version(case["reader"])}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
