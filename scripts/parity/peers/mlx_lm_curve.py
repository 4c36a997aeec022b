"""Train adapters by mlx-lm's own trainer, in its own order; prints each step's loss, and keeps the batches that it read.

Needs mlx-lm, nothing of this project. Batches lie beside the job as NAME.npz: tokens and spans of each, in their order.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "bench" / "peers"))

import harness  # noqa: E402, F401  (before MLX: it prepares BLAS)
import mlx.core as mx  # noqa: E402
import mlx.optimizers as optim  # noqa: E402
import mlx_lm  # noqa: E402
import numpy as np  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from mlx_lm.tuner.callbacks import TrainingCallback  # noqa: E402
from mlx_lm.tuner.trainer import TrainingArgs, evaluate, iterate_batches, train  # noqa: E402
from mlx_lm.tuner.utils import linear_to_lora_layers  # noqa: E402
from mlx_lm.utils import load_model  # noqa: E402


class Losses(TrainingCallback):
    """What the trainer reports of each step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        """One step, since it is asked to report each."""
        self.found.append(train_info["train_loss"])


class Heard:
    """mlx-lm's own batches, and what they were."""

    def __init__(self) -> None:
        self.batches: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, *args: Any, **options: Any) -> Iterator[tuple[mx.array, mx.array]]:
        for tokens, spans in iterate_batches(*args, **options):
            self.batches.append((np.array(tokens), np.array(spans)))
            yield tokens, spans

    def keep(self, path: Path, count: int) -> None:
        """The first `count` of them; the trainer fetches one more than it uses."""
        arrays = {
            f"{kind}{i}": a for i, pair in enumerate(self.batches[:count]) for kind, a in zip("ts", pair, strict=True)
        }
        np.savez(path, **arrays)


def main() -> None:
    """Validation, training, validation."""
    job = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(job["folder"])
    mx.set_default_device(mx.cpu)
    model, _ = load_model(Path(job["model"]))
    model.freeze()
    settings = {"rank": job["rank"], "scale": job["scale"], "dropout": 0.0, "keys": job["keys"]}
    linear_to_lora_layers(model, len(model.layers), settings)
    model.load_weights(job["adapter"], strict=False)
    optimizer = optim.AdamW(
        job["learning_rate"], betas=job["betas"], weight_decay=job["weight_decay"], bias_correction=True
    )
    data = {split: [tuple(row) for row in job[split]] for split in ("train", "val")}
    size, longest = job["batch_size"], job["max_seq_length"]
    np.random.seed(job["seed"])  # noqa: NPY002  (what its batches are shuffled by)

    def validate(heard: Heard) -> float:
        return float(evaluate(model, data["val"], size, -1, max_seq_length=longest, iterate_batches=heard))

    val, steps, losses = Heard(), Heard(), Losses()
    before = validate(val)
    val.keep(folder / "val.npz", len(val.batches))
    train(
        model,
        optimizer,
        data["train"],
        args=TrainingArgs(
            batch_size=size,
            iters=job["steps"],
            steps_per_report=1,
            steps_per_save=job["steps"] + 1,
            max_seq_length=longest,
            adapter_file=str(folder / "adapters.safetensors"),
        ),
        iterate_batches=steps,
        training_callback=losses,
    )
    steps.keep(folder / "train.npz", job["steps"])
    after = validate(Heard())
    trained = len(tree_flatten(model.trainable_parameters()))
    versions = {"mlx-lm": mlx_lm.__version__}
    print(json.dumps({"losses": losses.found, "val": [before, after], "arrays": trained, "versions": versions}))


if __name__ == "__main__":
    main()
