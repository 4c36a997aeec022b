"""Time lm-eval's class for models of transformers on pairs of context and choice, in a process that has the model loaded."""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

import harness
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM


def main() -> None:
    """A few pairs of each batch size show which is fastest; then all of them with that, tokenizing included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--batch-sizes", required=True)
    args = parser.parse_args()
    pairs = json.loads(args.pairs.read_text())
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    # The tokenizer of the random model has no end token; no context is empty, so none is ever put before one.
    model = HFLM(pretrained=str(args.model), dtype="float32", device=device, batch_size=1, prefix_token_id=0)

    def scored(part: list[tuple[str, str]], size: int) -> tuple[float, list[float]]:
        model.batch_size_per_gpu = size
        asked = [Instance("loglikelihood", {}, tuple(pair), i) for i, pair in enumerate(part)]
        begun = time.perf_counter()
        found = model.loglikelihood(asked, disable_tqdm=True)
        return time.perf_counter() - begun, [logprob for logprob, _ in found]

    scored(pairs[:4], 1)
    sizes = [int(size) for size in args.batch_sizes.split(",")]
    fastest = min(sizes, key=lambda size: scored(pairs[:32], size)[0])
    seconds, logprobs = scored(pairs, fastest)
    harness.report(
        rate=len(pairs) / seconds,
        logprobs=logprobs,
        batch_size=fastest,
        footprint=harness.peak_footprint(),
        threads=torch.get_num_threads(),
        lm_eval=version("lm-eval"),
        transformers=transformers.__version__,
        torch=torch.__version__,
    )


if __name__ == "__main__":
    main()
