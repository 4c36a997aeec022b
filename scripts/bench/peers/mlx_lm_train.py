"""Time mlx-lm's own trainer (all weights trained) on one batch of documents, on the weights of a model folder."""

import argparse
import tempfile
from pathlib import Path

import harness  # before MLX: it prepares BLAS
import mlx.core as mx
import mlx.optimizers as optim
import mlx_lm
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import TrainingArgs, train
from mlx_lm.utils import load_model

WARMUP = 2
"""mlx-lm compiles its second step once more: the optimizer has a state then."""


class Documents:
    """The rows as mlx-lm's batches want them: (ids, where the loss begins)."""

    def __init__(self, ids: np.ndarray) -> None:
        self.rows = ids.tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[list[int], int]:
        return self.rows[index], 0


class Record(TrainingCallback):
    """Keeps what the trainer reports of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_loss_report(self, train_info: dict[str, float]) -> None:
        """One step, since it is asked to report each."""
        self.steps.append(train_info)


def main() -> None:
    """One process: two steps that do not count, then the timed ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batch", type=Path, required=True, help=".npy of (B, T + 1) ids")
    parser.add_argument("--steps", type=int, required=True, help="after the first two")
    parser.add_argument("--learning-rate", type=float, required=True)
    args = parser.parse_args()
    ids = np.load(args.batch)
    model, _ = load_model(args.model)
    optimizer = optim.AdamW(args.learning_rate, betas=[0.9, 0.999], weight_decay=0.01, bias_correction=True)
    record = Record()
    mx.eval(model.parameters())
    mx.reset_peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArgs(
            batch_size=len(ids),
            iters=args.steps + WARMUP,
            steps_per_report=1,
            steps_per_save=args.steps + WARMUP + 1,
            max_seq_length=ids.shape[1],  # as long as the documents: nothing is padded or cut
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )
        train(model, optimizer, Documents(ids), args=settings, training_callback=record)
    before = [0, *(step["trained_tokens"] for step in record.steps)]
    harness.report(
        tok_per_sec=[step["tokens_per_second"] for step in record.steps[WARMUP:]],
        losses=[step["train_loss"] for step in record.steps],
        tokens_per_step=int(before[-1] - before[-2]),
        parameters=sum(p.size for _, p in tree_flatten(model.trainable_parameters())),
        peak_memory=mx.get_peak_memory(),
        footprint=harness.peak_footprint(),
        version=mlx_lm.__version__,
        mlx=mx.__version__,
        blas=harness.BLAS,
    )


if __name__ == "__main__":
    main()
