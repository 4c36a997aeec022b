"""Time our fine-tuning steps on ids, as the trainer runs them, on the weights of a model folder."""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import measure  # before MLX: it prepares BLAS
import mlx.core as mx
import numpy as np

from mlxllm import runtime
from mlxllm.config import DataConfig, DpoConfig, LoraConfig, RunConfig, TrainConfig
from mlxllm.conversation.preferences import Pair
from mlxllm.conversation.report import Report
from mlxllm.data.packing import Text, pack
from mlxllm.evaluation import pair_rows, pair_scoring
from mlxllm.evaluation.answer_loss import SftValidation
from mlxllm.model.adapters import adapt, adapters_off
from mlxllm.model.loading import load_hf_folder
from mlxllm.model.transformer import Transformer
from mlxllm.training import dpo, sft
from mlxllm.training.objectives import next_token_objective
from mlxllm.training.plan import default_lanes
from mlxllm.training.step import Batch, StepMetrics, TrainState, TrainStep, initial_state, install

RANK = 8
"""What mlx-lm and mlx-lm-lora take by default, and so do we."""
WARMUP = 2
"""Steps of one shape that do not count."""


class Trainer:
    """A training step with its state and a clock."""

    def __init__(self, model: Transformer, config: RunConfig, objective: Any) -> None:
        self.step = TrainStep(model, config.train, objective, compute_dtype=mx.float32, lanes=config.train.lanes)
        self.state: TrainState = initial_state(model, config.train)
        mx.eval(self.state.arrays())
        self.seconds: list[float] = []
        self.metrics: list[StepMetrics] = []

    def __call__(self, arrays: list[np.ndarray]) -> None:
        """One step."""
        begun = time.perf_counter()
        batch: Batch = tuple(mx.array(a) for a in arrays)
        self.state, metrics = self.step(self.state, batch)
        mx.eval(self.state.arrays(), metrics.arrays())
        self.seconds.append(time.perf_counter() - begun)
        self.metrics.append(metrics)

    @property
    def losses(self) -> list[float]:
        """Of all steps."""
        return [float(m.loss.item()) for m in self.metrics]


def main() -> None:
    """One process: a pass that does not count, which compiles, then the timed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["sft", "dpo"], required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="what tune_data.py writes")
    parser.add_argument("--method", choices=["lora", "full"], required=True)
    parser.add_argument("--scale", type=float, required=True, help="of the adapters")
    args = parser.parse_args()
    runtime.select_device(None)
    model, model_config, _ = load_hf_folder(args.model, dtype=mx.float32)
    content = json.loads(args.data.read_text())
    B = len(content["batches"][0])
    config = RunConfig(
        method=args.kind,
        model=model_config,
        data=DataConfig(max_seq_len=content["max_seq_len"]),
        train=TrainConfig(
            optimizer="adamw",
            learning_rate=1e-4,
            schedule="constant",
            warmup_steps=0,
            weight_decay=0.01,
            betas=(0.9, 0.999),
            max_grad_norm=0,  # the peers do not clip
            batch_size=B,
            lanes=default_lanes(B),
        ),
        lora=LoraConfig(rank=RANK, alpha=RANK * args.scale) if args.method == "lora" else None,
        dpo=DpoConfig() if args.kind == "dpo" else None,
    )
    if config.lora is not None:
        adapt(model, config.lora)
    result = (tune if args.kind == "sft" else align)(model, config, content)
    measure.report(
        footprint=measure.peak_footprint(),
        lanes=config.train.lanes,
        **result,
        **measure.device_facts(),
    )


def tune(model: Transformer, config: RunConfig, content: dict[str, Any]) -> dict[str, Any]:
    """Supervised fine-tuning on packed rows: two steps that do not count, then each row once."""
    texts = []
    for row in (content["rows"][i] for batch in content["batches"] for i in batch):
        ids = np.array(row["ids"], dtype=np.uint32)
        texts.append(Text(ids, np.arange(len(ids)) >= row["prompt"]))
    rows = pack(texts, config.data.max_seq_len)
    score = SftValidation(rows, config.train.batch_size)
    first = score(model)["all"]
    loader = sft.sft_rows(sft.SftData(rows, None, Report(), ""), config.train.batch_size, seed=0)
    trainer = Trainer(model, config, next_token_objective(config.train))
    mx.reset_peak_memory()
    steps = math.ceil(len(rows.inputs) / config.train.batch_size)
    with runtime.blas_for_lanes(config.train.lanes):
        for number in range(WARMUP + steps):
            trainer(list(loader.batch(number)))
    peak_memory = mx.get_peak_memory()
    install(model, trainer.state.parameters)
    last = score(model)["all"]
    learned = sum(float(m.num_tokens.item()) for m in trainer.metrics[WARMUP:])
    return {
        "rate": learned / sum(trainer.seconds[WARMUP:]),
        "first_pass_seconds": sum(trainer.seconds[:WARMUP]),
        "peak_memory": peak_memory,
        "tokens": first.tokens,
        "first_loss": first.loss,
        "last_loss": last.loss,
        "parameters": sum(p.size for p in trainer.state.parameters.values()),
        "details": {"padding": rows.padding, "rows": len(rows.inputs), "step_seconds": trainer.seconds[WARMUP:]},
    }


def align(model: Transformer, config: RunConfig, content: dict[str, Any]) -> dict[str, Any]:
    """Preference optimisation: the reference of all pairs, a pass that does not count, then the timed one."""
    every = [
        Pair(*(np.array(row[key], dtype=np.uint32) for key in ("prompt", "chosen", "rejected")))
        for row in content["rows"]
    ]
    shapes = pair_rows.PairShapes(every, config.data.max_seq_len)
    batches = [[every[i] for i in batch] for batch in content["batches"]]
    used = [pair for batch in batches for pair in batch]
    mx.reset_peak_memory()
    begun = time.perf_counter()
    with adapters_off(model):
        reference = pair_scoring.reference_logprobs(model, used, shapes, config.train)
    reference_seconds = time.perf_counter() - begun
    known = iter(reference)
    rows = [[shapes.row(pair, next(known)) for pair in batch] for batch in batches]
    arrays = [[np.array(a) for a in pair_rows.stacked(batch, config.train.batch_size)] for batch in rows]
    trainer = Trainer(model, config, dpo.dpo_objective(config))
    with runtime.blas_for_lanes(config.train.lanes):
        for batch in (*arrays, *arrays):
            trainer(batch)
    peak_memory = mx.get_peak_memory()
    first = trainer.metrics[0].means
    timed = trainer.seconds[len(arrays) :]
    return {
        "rate": len(used) / (reference_seconds + sum(timed)),
        "steps_rate": len(used) / sum(timed),
        "first_pass_seconds": sum(trainer.seconds[: len(arrays)]),
        "peak_memory": peak_memory,
        "losses": trainer.losses,
        "chosen": float(first["logps/chosen"].item()),
        "rejected": float(first["logps/rejected"].item()),
        "parameters": sum(p.size for p in trainer.state.parameters.values()),
        "details": {
            "reference_seconds": reference_seconds,
            "step_seconds": timed,
            "shapes": sorted({(batch[0].shape[-1], batch[4].shape[-1]) for batch in arrays}),
        },
    }


if __name__ == "__main__":
    main()
