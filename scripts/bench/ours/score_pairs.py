"""Time our scorer on pairs of context and choice, in a process that has the model loaded."""

import argparse
import json
import time
from pathlib import Path

import measure  # before MLX: it prepares BLAS

from mlxllm import runtime
from mlxllm.evaluation.scoring import Request, Scorer
from mlxllm.model.loading import load_model


def main() -> None:
    """A few pairs that do not count, then all of them, tokenizing included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    args = parser.parse_args()
    runtime.select_device(None)
    loaded = load_model(str(args.model))
    encode, pairs = loaded.tokenizer.encode, json.loads(args.pairs.read_text())
    scorer = Scorer(loaded.model, loaded.config.max_position_embeddings)

    def scored(part: list[tuple[str, str]]) -> list[float]:
        requests = [Request(tuple(encode(context)), tuple(encode(choice))) for context, choice in part]
        return [each.logprob for each in scorer(requests)]

    scored(pairs[:8])
    begun = time.perf_counter()
    logprobs = scored(pairs)
    seconds = time.perf_counter() - begun
    measure.report(
        rate=len(pairs) / seconds, logprobs=logprobs, footprint=measure.peak_footprint(), **measure.device_facts()
    )


if __name__ == "__main__":
    main()
