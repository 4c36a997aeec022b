"""What the import contracts of pyproject.toml cannot see: what really gets loaded."""

import pkgutil
import subprocess
import sys

import pytest

WITHOUT_MLX_CORE = (
    "ablation",
    "budget",
    "config",
    "conversation",
    "data",
    "dials",
    "errors",
    "estimate",
    "parity",
    "paths",
    "planning",
    "presets",
    "runs",
    "scores",
    "settings",
    "speed",
    "tokenizer",
    "visible",
)


def modules_of(name: str) -> list[str]:
    """The module `name` and, if it is a package, everything below it."""
    package = __import__(name, fromlist=["_"])
    below = pkgutil.walk_packages(getattr(package, "__path__", []), prefix=f"{name}.")
    return [name, *(info.name for info in below)]


@pytest.mark.parametrize("name", [*(f"mlxllm.{name}" for name in WITHOUT_MLX_CORE), "tui"])
def test_layers_0_and_1_and_the_ui_never_load_mlx_core(name: str) -> None:
    program = f"import sys, {', '.join(modules_of(name))}; sys.exit('mlx.core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
