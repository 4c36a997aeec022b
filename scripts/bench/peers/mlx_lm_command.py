"""mlx-lm's command line, with OpenBLAS in place of the reference BLAS: `mlx_lm_command.py generate --model ...`."""

import runpy
import sys

import harness  # noqa: F401  (loads OpenBLAS before MLX)

sys.argv[0] = "mlx_lm"
runpy.run_module("mlx_lm", run_name="__main__")
