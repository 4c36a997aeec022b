"""Write a model as a GGUF file in float32, for llama.cpp."""

import argparse
from pathlib import Path

import measure  # before MLX: it prepares BLAS

from mlxllm.export.gguf import write_gguf
from mlxllm.model.loading import load_model


def main() -> None:
    """One file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    measure.report(bytes=write_gguf(load_model(args.model), args.out, dtype="f32").bytes)


if __name__ == "__main__":
    main()
