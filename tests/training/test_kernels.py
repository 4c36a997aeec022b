"""Kernels that are compiled ahead are those that training asks for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlxllm.cpu_kernels import FOLDER_VARIABLE
from mlxllm.runtime import compiler_available

CODE = """
import mlxllm.runtime
import mlx.core as mx
mx.set_default_device(mx.Device(mx.cpu, 0))
from mlxllm.cpu_kernels import use_native_compiler
from mlxllm.presets import preset_config
from mlxllm.training.kernels import KernelsAhead, compile_part

config = preset_config("char-tiny").with_values(model={"vocab_size": 64}, train={"lanes": 1})
def made():
    return sorted(p.name for p in use_native_compiler().glob("mlx/*/cpu/*.so"))
ahead = KernelsAhead(config, ("sft",), background=True)
ahead.wait()
before = made()
compile_part(config, "sft")
assert before, "nothing was compiled"
assert made() == before, set(made()) - set(before)
mx.eval(mx.compile(lambda x: mx.sin(x) * mx.cos(x) + 3)(mx.arange(8.0)))
assert len(made()) > len(before), "what is compiled was looked for in the wrong place"
"""


@pytest.mark.compiled
@pytest.mark.skipif(sys.platform != "linux" or not compiler_available(), reason="only the Linux CPU compiles with g++")
def test_what_is_compiled_ahead_is_what_training_asks_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, FOLDER_VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("*/mlxllm-kernels-*")), "temporary folders are gone"
