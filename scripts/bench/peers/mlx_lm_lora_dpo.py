"""Time mlx-lm-lora's own DPO trainer on ids of pairs, on the weights of a model folder."""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import harness  # before MLX: it prepares BLAS
import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model
from mlx_lm_lora.trainer import dpo_trainer


class Record(TrainingCallback):
    """Keeps what the trainer reports of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_loss_report(self, train_info: dict[str, float]) -> None:
        """One step, since it is asked to report each."""
        self.steps.append({key: float(value) for key, value in train_info.items()})


class Batches:
    """Stands in for the trainer's iterator, which draws one batch anew for each step: the same, padded by it, in turn."""

    def __init__(self, content: dict) -> None:
        pairs = [self._pair(row) for row in content["rows"]]
        self._padded = dpo_trainer.iterate_dpo_batches
        self._turn = itertools.cycle([[pairs[i] for i in batch] for batch in content["batches"]])

    def _pair(self, row: dict) -> dict:
        prompt = row["prompt"]
        both = {side: prompt + row[side] for side in ("chosen", "rejected")}
        return {**both, **{f"{side}_prompt_length": len(prompt) for side in both}}

    def __call__(self, dataset: object, batch_size: int, max_seq_length: int, train: bool = False) -> Iterator:
        """An iterator over the next batch."""
        return self._padded(next(self._turn), batch_size, max_seq_length, train=False)


def without_gpu() -> None:
    """The trainer asks for a wired limit, which only Macs have."""
    if not mx.metal.is_available():
        info = {**mx.device_info(), "max_recommended_working_set_size": 0}
        mx.device_info = lambda *_: info
        mx.set_wired_limit = lambda _: 0


def main() -> None:
    """One process: a pass that does not count, then the timed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", choices=["lora", "full"], required=True)
    parser.add_argument("--scale", type=float, required=True)
    args = parser.parse_args()
    without_gpu()
    content = json.loads(args.data.read_text())
    model, _ = load_model(args.model)
    reference, _ = load_model(args.model)
    reference.freeze()
    if args.method == "lora":
        mx.random.seed(0)
        model.freeze()
        linear_to_lora_layers(model, len(model.layers), {"rank": 8, "scale": args.scale, "dropout": 0.0})
    optimizer = optim.AdamW(1e-4, betas=[0.9, 0.999], weight_decay=0.01, bias_correction=True)
    optimizer.init(model.trainable_parameters())  # or each shape would be compiled twice
    mx.eval(model.parameters(), reference.parameters(), optimizer.state)
    dpo_trainer.iterate_dpo_batches = Batches(content)
    passes, size = len(content["batches"]), len(content["batches"][0])
    record = Record()
    mx.reset_peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        settings = dpo_trainer.DPOTrainingArgs(
            batch_size=size,
            iters=2 * passes,
            steps_per_report=1,
            steps_per_save=2 * passes + 1,
            max_seq_length=content["max_seq_len"] + 1,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )
        dpo_trainer.train_dpo(model, reference, optimizer, [], args=settings, training_callback=record)
    seconds = [1 / step["iterations_per_second"] for step in record.steps]
    first = record.steps[0]
    harness.report(
        rate=passes * size / sum(seconds[passes:]),
        first_pass_seconds=sum(seconds[:passes]),
        peak_memory=mx.get_peak_memory(),
        footprint=harness.peak_footprint(),
        losses=[step["train_loss"] for step in record.steps],
        chosen=first["train_chosen_logits_mean"],  # its name for the mean over pairs of the summed log-probabilities
        rejected=first["train_rejected_logits_mean"],
        parameters=sum(p.size for _, p in tree_flatten(model.trainable_parameters())),
        details={"step_seconds": seconds[passes:]},
        version=version("mlx-lm-lora"),
        mlx=mx.__version__,
        blas=harness.BLAS,
    )


if __name__ == "__main__":
    main()
