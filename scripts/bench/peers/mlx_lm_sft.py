"""Time mlx-lm's own trainer on ids of conversations, on the weights of a model folder."""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import harness  # before MLX: it prepares BLAS
import mlx.core as mx
import mlx.optimizers as optim
import mlx_lm
from mlx.utils import tree_flatten
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import TrainingArgs, evaluate, iterate_batches, train
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model


class Conversations:
    """As mlx-lm's batches want them: (ids, where the loss begins)."""

    def __init__(self, content: dict) -> None:
        self.rows = [content["rows"][i] for batch in content["batches"] for i in batch]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[list[int], int]:
        return self.rows[index]["ids"], self.rows[index]["prompt"]


class Record(TrainingCallback):
    """Keeps what the trainer reports of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_loss_report(self, train_info: dict[str, float]) -> None:
        """One step, since it is asked to report each."""
        self.steps.append(train_info)


def without_padding(*args: object, **options: object) -> Iterator[tuple[mx.array, mx.array]]:
    """mlx-lm's batches; its mask would also count one token of padding behind each text."""
    for batch, spans in iterate_batches(*args, **options):
        yield batch, spans - mx.array([0, 1])


def main() -> None:
    """One process: a pass that does not count, then the timed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", choices=["lora", "full"], required=True)
    parser.add_argument("--scale", type=float, required=True)
    args = parser.parse_args()
    content = json.loads(args.data.read_text())
    model, _ = load_model(args.model)
    if args.method == "lora":
        mx.random.seed(0)
        model.freeze()
        linear_to_lora_layers(model, len(model.layers), {"rank": 8, "scale": args.scale, "dropout": 0.0})
    optimizer = optim.AdamW(1e-4, betas=[0.9, 0.999], weight_decay=0.01, bias_correction=True)
    optimizer.init(model.trainable_parameters())  # or each shape would be compiled twice
    mx.eval(model.parameters(), optimizer.state)
    data = Conversations(content)
    size, longest, passes = len(content["batches"][0]), content["max_seq_len"] + 1, len(content["batches"])

    def loss() -> float:
        return float(evaluate(model, data, size, -1, max_seq_length=longest, iterate_batches=without_padding))

    first = loss()
    record = Record()
    mx.reset_peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArgs(
            batch_size=size,
            iters=2 * passes,
            steps_per_report=1,
            steps_per_save=2 * passes + 1,
            max_seq_length=longest,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )
        train(model, optimizer, data, args=settings, iterate_batches=without_padding, training_callback=record)
    peak_memory = mx.get_peak_memory()
    trained = [0, *(step["trained_tokens"] for step in record.steps)]
    tokens = [after - before for before, after in itertools.pairwise(trained)]
    seconds = [n / step["tokens_per_second"] for n, step in zip(tokens, record.steps, strict=True)]
    harness.report(
        rate=sum(tokens[passes:]) / sum(seconds[passes:]),
        first_pass_seconds=sum(seconds[:passes]),
        peak_memory=peak_memory,
        footprint=harness.peak_footprint(),
        tokens=int(sum(tokens[passes:])),
        first_loss=first,
        last_loss=loss(),
        parameters=sum(p.size for _, p in tree_flatten(model.trainable_parameters())),
        details={"step_seconds": seconds[passes:], "step_tokens": tokens[passes:]},
        version=mlx_lm.__version__,
        mlx=mx.__version__,
        blas=harness.BLAS,
    )


if __name__ == "__main__":
    main()
